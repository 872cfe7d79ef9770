//! Stores that are not what the program was asked to go on with.

use anyhow::Result;
use rusqlite::Connection;

use crate::program::Folder;
use crate::stored::Stored;
use crate::stream;

#[test]
fn a_world_with_records_is_not_played_into_again() -> Result<()> {
    let folder = Folder::new()?;
    let first = folder.write("first.jsonl", stream::turn("b", 1).concat())?;
    folder.succeed(&["--input", &first])?;
    let before = Stored::read(&folder.url())?;

    // World `a` comes first, and is empty.
    let both = [
        stream::turn("a", 1),
        stream::turn("a", 2),
        stream::turn("b", 1),
    ]
    .concat();
    let both = folder.write("both.jsonl", both.concat())?;
    let done = folder.run(&["--input", &both])?;
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""));
    assert_eq!(
        done.stderr,
        "replay: world \"b\" holds 4 records already; go on behind them with --resume, or name \
         another store with --store\n"
    );
    assert_eq!(
        Stored::read(&folder.url())?,
        before,
        "nothing was written or claimed"
    );
    let done = folder.succeed(&["--input", &both, "--resume"])?;
    assert_eq!(done.row("turns"), "2 (1 more were stored already)");
    Ok(())
}

#[test]
fn other_worlds_of_the_store_do_not_matter() -> Result<()> {
    let folder = Folder::new()?;
    let first = folder.write("first.jsonl", stream::turn("b", 1).concat())?;
    folder.succeed(&["--input", &first])?;
    let second = folder.write("second.jsonl", stream::turn("a", 1).concat())?;
    folder.succeed(&["--input", &second])?;
    assert_eq!(Stored::read(&folder.url())?.heads(), [("a", 4), ("b", 4)]);
    Ok(())
}

#[test]
fn a_store_of_another_stream_is_not_resumed() -> Result<()> {
    let folder = Folder::new()?;
    let turns = |count| (1..=count).flat_map(|number| stream::turn("w", number));
    let lines: Vec<String> = turns(3).collect();
    let made = folder.write("made.jsonl", lines.concat())?;
    folder.succeed(&["--input", &made])?;

    // The second turn has one line more, so that the head of 12 lies within the third.
    let mut more = lines.clone();
    more.insert(5, stream::line("w", 2, "event", "more", "1"));
    let more = folder.write("more.jsonl", more.concat())?;
    let done = folder.run(&["--input", &more, "--resume"])?;
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr
            .contains("world \"w\" holds 12 records, which ends within turn 3")
    );

    let less = folder.write("less.jsonl", turns(2).collect::<String>())?;
    let done = folder.run(&["--input", &less, "--resume"])?;
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr
            .contains("world \"w\" holds 12 records, the stream has 8")
    );

    let other = lines.concat().replace("\"e2\"", "\"e9\"");
    let other = folder.write("other.jsonl", other)?;
    let done = folder.run(&["--input", &other, "--resume"])?;
    assert_eq!(done.code, Some(1));
    let named = "world \"w\", events \"e9\" at sequence 8: is not the next in the store";
    assert!(done.stdout.contains(named), "{done:?}");
    Ok(())
}

#[test]
fn each_mismatch_is_named() -> Result<()> {
    let folder = Folder::new()?;
    let lines: String = (1..=3)
        .flat_map(|number| stream::turn("w", number))
        .collect();
    let input = folder.write("game.jsonl", lines)?;
    for (change, named) in [
        (
            "UPDATE world_state SET payload = '0' WHERE key = 'k3'",
            "world \"w\", puts \"k3\": what is stored (put at sequence 9) is not what the stream",
        ),
        (
            "UPDATE world_state SET key = 'k0' WHERE key = 'k3'",
            "world \"w\", puts \"k0\": is in the store and not in the stream",
        ),
        (
            "DELETE FROM world_state WHERE key = 'k3'",
            "world \"w\", puts \"k3\": is not in the store; the stream puts it at sequence 9",
        ),
        (
            "DELETE FROM world_records WHERE key = 'e1'",
            "world \"w\", events \"e1\" at sequence 4: is not the next in the store, which is at",
        ),
        (
            "DELETE FROM world_records WHERE key = 'e3'",
            "world \"w\", events \"e3\" at sequence 12: is not in the store, whose log ends",
        ),
        (
            "INSERT INTO world_records SELECT id + 1, world_id, timestamp, collection, change, key, \
             form, payload FROM world_records WHERE key = 'e3'",
            "world \"w\", log at sequence 13: is in the store and not in the stream",
        ),
    ] {
        folder.succeed(&["--input", &input])?;
        assert!(Connection::open(folder.store())?.execute(change, [])? > 0);
        let done = folder.run(&["--input", &input, "--resume"])?;
        assert_eq!(done.code, Some(1), "{change}");
        assert!(done.row("verdict").starts_with("MISMATCH"), "{done:?}");
        assert!(done.stdout.contains(named), "{change}: {done:?}");
        std::fs::remove_file(folder.store())?;
    }
    Ok(())
}

#[test]
fn a_dump_takes_the_place_of_nothing_that_the_replay_needs() -> Result<()> {
    let folder = Folder::new()?;
    let input = folder.write("game.jsonl", stream::line("w", 1, "put", "k", "1"))?;
    folder.succeed(&["--input", &input])?;
    let before = std::fs::read(folder.store())?;
    let store = folder.store().display().to_string();
    for (dump, reason) in [
        (store.as_str(), "the replay needs that file"),
        (input.as_str(), "the replay needs that file"),
        (".", "is a folder"),
        ("nowhere/dump.jsonl", "its folder: No such file"),
    ] {
        let done = folder.run(&["--input", &input, "--resume", "--dump", dump])?;
        assert_eq!(done.code, Some(1), "{dump}");
        assert!(done.stderr.contains(reason), "{}", done.stderr);
        assert!(done.stdout.is_empty(), "{}", done.stdout);
    }
    assert!(std::fs::read(folder.store())? == before);
    Ok(())
}
