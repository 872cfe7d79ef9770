//! Writers: a retry is harmless, and so is a second writer.

use std::sync::Arc;

use aqevia_storage::{Epoch, ErrorKind, Limit, Link, Part, Receipt, Result, StorageBackend};

use crate::Harness;
use crate::contents::{contents, everything, paged_worlds};
use crate::harness::{another, open, reopen};
use crate::sample::{Kind, event, events, schema, world};
use crate::writer::{Writer, persist};

/// A part persisted again writes nothing and returns the first receipt, the last and each earlier.
pub async fn p5_a_repeated_part_writes_nothing<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let (_, parts) = written(&backend).await;
    check_repeats(&*backend, &parts).await;
}

/// A part can be repeated after another writer has claimed the world, and has written to it.
pub async fn p5_a_part_is_repeated_after_another_claim<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let (first, parts) = written(&backend).await;
    let other = another(harness, &backend).await;
    let mut second = Writer::claim_as(&other, &first.world, "the next").await;
    check_repeats(&*backend, &parts).await;
    check_repeats(&*other, &parts).await;
    second
        .persist(vec![event(&first.world, "of the next")])
        .await;
    check_repeats(&*backend, &parts).await;
    let next = second.persist(vec![event(&first.world, "again")]).await;
    let last = parts
        .last()
        .map(|(_, receipt)| *receipt)
        .expect("parts were written");
    let after = last.first.get() + u64::from(last.count);
    assert_eq!(
        next.first.get(),
        after + 1,
        "P5: a repeated part moves no sequence"
    );
}

/// A part can be repeated after the store was closed, and after it was dropped without that.
pub async fn p5_a_part_is_repeated_after_reopening<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let (writer, parts) = written(&backend).await;
    drop(writer);
    let backend = reopen(harness, backend).await;
    check_repeats(&*backend, &parts).await;
    drop(backend);
    let backend = open(harness).await;
    check_repeats(&*backend, &parts).await;
    let writer = Writer::claim(&backend, &world("arda")).await;
    check_repeats(&*backend, &parts).await;
    assert_eq!(
        writer.claim.last_number.get(),
        3,
        "P5: a repeated part takes no number"
    );
}

type Written = (Arc<Part>, Receipt);

/// Three parts of a world, with what was answered to them.
async fn written(backend: &Arc<dyn StorageBackend>) -> (Writer, Vec<Written>) {
    let arda = world("arda");
    let mut writer = Writer::claim(backend, &arda).await;
    let mut parts = Vec::new();
    for size in [1, 5, 2] {
        let mut records = events(&arda, size);
        records.push(Kind::Fleets.put(&arda, "a", &size.to_string()));
        let part = writer.part(records);
        let receipt = persist(&**backend, &part)
            .await
            .expect("the part that follows");
        writer.advance(&part);
        parts.push((part, receipt));
    }
    (writer, parts)
}

async fn check_repeats(backend: &dyn StorageBackend, parts: &[Written]) {
    let before = everything(backend).await;
    for (part, first) in parts.iter().chain(parts) {
        let number = part.number();
        let again = persist(backend, part).await;
        let again = again.expect("P5: a part that is in the store is accepted again");
        let expected = Receipt::repeated(first.first, first.count);
        assert_eq!(
            again, expected,
            "P5: the receipt of batch {number} persisted again"
        );
        assert!(
            everything(backend).await == before,
            "P5: batch {number} is written again"
        );
    }
}

/// A writer whose world was claimed again writes nothing and learns who has it now.
pub async fn p6_a_fenced_writer_writes_nothing<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut first = Writer::claim_as(&backend, &arda, "númenor").await;
    first.persist(vec![event(&arda, "1")]).await;

    let other = another(harness, &backend).await;
    let mut second = Writer::claim_as(&other, &arda, "the house of elendil").await;
    assert!(
        second.claim.epoch > first.claim.epoch,
        "P6: a claim raises the epoch"
    );
    let stale = [1, 2, 3].map(|number| first.part_numbered(number, vec![event(&arda, "stale")]));
    check_fenced(&first, &stale, "the house of elendil").await;
    second.persist(vec![event(&arda, "2")]).await;
    check_fenced(&first, &stale, "the house of elendil").await;

    let third = Writer::claim_as(&backend, &arda, "gondor").await;
    check_fenced(&first, &stale, "gondor").await;
    let stale = [second.part(vec![event(&arda, "stale")])];
    check_fenced(&second, &stale, "gondor").await;
    assert_eq!(
        third.claim.last_number.get(),
        2,
        "P6: a fenced writer takes no number"
    );
}

async fn check_fenced(writer: &Writer, parts: &[Arc<Part>], owner: &str) {
    let before = everything(&*writer.backend).await;
    for part in parts {
        let number = part.number();
        let answer = persist(&*writer.backend, part).await;
        let kind = answer.as_ref().map_err(|error| error.kind()).err();
        assert_eq!(
            kind,
            Some(ErrorKind::Fenced),
            "P6: batch {number} of a fenced writer"
        );
        let message = answer
            .map_err(|error| error.to_string())
            .err()
            .unwrap_or_default();
        assert!(
            message.contains(owner),
            "P6: {message:?} does not name the new owner, {owner:?}"
        );
        let after = everything(&*writer.backend).await;
        assert!(
            after == before,
            "P6: batch {number} of a fenced writer is written"
        );
    }
}

/// Of the present epoch, only the number after the last is written.
pub async fn p7_only_the_next_number_is_written<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    let other = || vec![event(&arda, "other"), Kind::Fleets.put(&arda, "a", "other")];
    for number in [0, 2, 1000] {
        check_invalid(
            &writer,
            &writer.part_numbered(number, other()),
            "the first is 1",
        )
        .await;
    }
    writer.persist(vec![event(&arda, "1")]).await;
    writer.persist(vec![event(&arda, "2")]).await;
    for (number, what) in [
        (0, "before the first"),
        (1, "an earlier one, with other content"),
        (2, "the last, with other content"),
        (4, "one is skipped"),
        (i64::MAX as u64, "the largest"),
    ] {
        check_invalid(&writer, &writer.part_numbered(number, other()), what).await;
    }
    let writer = Writer::claim(&backend, &arda).await;
    for (number, what) in [
        (1, "starts again"),
        (2, "the last of another epoch"),
        (4, "skips"),
    ] {
        check_invalid(&writer, &writer.part_numbered(number, other()), what).await;
    }
    let next = persist(&*backend, &writer.part(other())).await;
    assert_eq!(
        answer(next),
        Ok((3, 2)),
        "P7: the next number is written after all"
    );
}

/// Content under a number is told apart by each thing a record has.
pub async fn p7_any_difference_is_other_content<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    let (fleets, treaties) = (Kind::Fleets, Kind::Treaties);
    let records = vec![fleets.put(&arda, "a", "1"), fleets.put(&arda, "b", "2")];
    writer.persist(records.clone()).await;
    let second = records[1].clone();
    for (what, records) in [
        ("the order", vec![second.clone(), records[0].clone()]),
        ("the count", vec![second.clone()]),
        ("a key", vec![fleets.put(&arda, "c", "1"), second.clone()]),
        (
            "a payload",
            vec![fleets.put(&arda, "a", "2"), second.clone()],
        ),
        (
            "a timestamp",
            vec![fleets.put_at(&arda, "a", "1", 1), second.clone()],
        ),
        (
            "a collection",
            vec![treaties.put(&arda, "a", "1"), second.clone()],
        ),
        (
            "the kind of change",
            vec![fleets.delete(&arda, "a"), second],
        ),
    ] {
        let part = writer.part_numbered(1, records);
        check_invalid(&writer, &part, &format!("{what} differs")).await;
    }
}

/// An epoch that was never claimed is `Invalid`, in a world that was claimed and in another.
pub async fn p7_an_epoch_that_was_never_claimed_is_invalid<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    writer.persist(vec![event(&arda, "1")]).await;
    for epoch in [2, 3, i64::MAX as u64] {
        let epoch = Epoch::new(epoch).expect("an epoch there is");
        for number in [1, 2, 3] {
            let part = writer.part_of(epoch, number, vec![event(&arda, "other")]);
            check_invalid(&writer, &part, "the epoch was never claimed").await;
        }
    }
    writer.world = world("unclaimed");
    for epoch in [Epoch::ZERO, Epoch::FIRST, Epoch::MAX] {
        let part = writer.part_of(epoch, 1, vec![event(&writer.world, "other")]);
        check_invalid(&writer, &part, "the world was never claimed").await;
    }
}

async fn check_invalid(writer: &Writer, part: &Arc<Part>, what: &str) {
    let before = everything(&*writer.backend).await;
    let (number, epoch) = (part.number(), part.epoch());
    let answer = answer(persist(&*writer.backend, part).await);
    assert_eq!(
        answer,
        Err(ErrorKind::Invalid),
        "P7: number {number}, {epoch:?}: {what}"
    );
    let after = everything(&*writer.backend).await;
    assert!(
        after == before,
        "P7: number {number}, {epoch:?} is written: {what}"
    );
}

fn answer(answer: Result<Receipt>) -> Result<(u64, u32), ErrorKind> {
    answer
        .map(|receipt| (receipt.first.get(), receipt.count))
        .map_err(|error| error.kind())
}

/// A claim tells what the writer after needs to go on: number, head, time, link and schema.
pub async fn p7_a_claim_tells_where_to_go_on<H: Harness>(harness: &H) {
    let mut backend = open(harness).await;
    let arda = world("arda");
    let first = Writer::claim(&backend, &arda).await;
    assert_eq!(
        first.claim,
        aqevia_storage::Claim::first(),
        "P7: the first claim of a world"
    );
    let mut epoch = 1;
    let mut at = first.claim.clone();
    assert_eq!(
        (at.link, at.schema),
        (Link::ORIGIN, None),
        "P7: the first claim of a world"
    );
    for size in [0, 3, 1] {
        let mut writer = Writer::claim(&backend, &arda).await;
        epoch += 1;
        at.schema = Some(schema().fingerprint());
        at.epoch = Epoch::new(epoch).expect("an epoch there is");
        assert_eq!(writer.claim, at, "P7: a claim tells where to go on");
        writer.persist(events(&arda, size)).await;
        at = writer.claim.clone();
        drop(writer);
        backend = reopen(harness, backend).await;
    }
    let heads = paged_worlds(&*backend, Limit::default()).await;
    let head = heads.first().expect("the world that was claimed");
    let listed = (head.epoch, head.last_number, head.last_at_ms, head.head);
    let expected = (at.epoch, at.last_number, at.last_at_ms, at.head);
    assert_eq!(
        listed, expected,
        "P7: the list of worlds tells where a world stands"
    );
    assert_eq!(
        head.owner.as_str(),
        "the suite",
        "P7: the list of worlds names the owner"
    );
    assert_eq!(
        contents(&*backend, &arda).await.head,
        at.head,
        "P7: a claim moves no head"
    );
}
