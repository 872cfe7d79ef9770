//! Each statement finds its rows by a key, whatever the tables held when it was planned.

use sqlx::PgConnection;

use crate::store::{Schema, Writer, arda, json, open, put, run};

/// The plan of a statement, as a session of the store makes it: once, for all values.
async fn plan(sql: &mut PgConnection, statement: &str) -> String {
    let text = statement.lines().filter(|line| !line.starts_with("--"));
    let text = text.collect::<String>();
    let count = (1..30)
        .take_while(|n| text.contains(&format!("${n}")))
        .count();
    let nulls = vec!["NULL"; count].join(", ");
    run(sql, "DEALLOCATE ALL").await;
    run(sql, &format!("PREPARE statement AS {statement}")).await;
    let explain = format!("EXPLAIN (COSTS off) EXECUTE statement ({nulls})");
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(explain))
        .fetch_all(sql)
        .await
        .unwrap();
    let lines = rows.iter().map(|row| sqlx::Row::get::<String, _>(row, 0));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn statements_use_their_keys() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let mut sql = schema.sql().await;
    run(
        &mut sql,
        "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
         SET enable_bitmapscan = off; SET jit = off",
    )
    .await;
    check_plans(&mut sql).await;

    let mut writer = Writer::claim(&store, &arda()).await;
    let records = (0..500).map(|n| put(&arda(), &n.to_string(), json("1")));
    writer.persist(records.collect()).await.unwrap();
    run(
        &mut sql,
        "ANALYZE worlds, world_records, world_state, world_batches",
    )
    .await;
    check_plans(&mut sql).await;
}

/// The statement that writes parts, of some of its clauses.
macro_rules! write {
    ($($clause:literal),+) => {
        concat!(
            include_str!("../src/sql/write_rows.sql"),
            $(include_str!(concat!("../src/sql/write_", $clause, ".sql")),)+
            include_str!("../src/sql/write_batches.sql")
        )
    };
}

async fn check_plans(sql: &mut PgConnection) {
    for (statement, keys) in [
        (
            include_str!("../src/sql/select_log.sql"),
            &["world_records_pkey", "worlds_pkey"][..],
        ),
        (
            include_str!("../src/sql/select_state.sql"),
            &["world_state_pkey", "worlds_pkey"],
        ),
        (
            include_str!("../src/sql/select_state_collection.sql"),
            &["world_state_pkey"],
        ),
        (
            include_str!("../src/sql/select_state_key.sql"),
            &["world_state_pkey"],
        ),
        (
            include_str!("../src/sql/select_worlds.sql"),
            &["worlds_pkey"],
        ),
        (include_str!("../src/sql/select_head.sql"), &["worlds_pkey"]),
        (
            include_str!("../src/sql/select_standing.sql"),
            &["worlds_pkey", "world_batches_pkey"],
        ),
        (include_str!("../src/sql/claim_world.sql"), &["worlds_pkey"]),
        (
            write!("part", "logged", "put"),
            &["worlds_pkey", "world_state_pkey"],
        ),
        (
            write!("part", "logged", "put", "gone"),
            &["worlds_pkey", "world_state_pkey"],
        ),
        (
            write!("parts", "logged", "put"),
            &["worlds_pkey", "world_state_pkey"],
        ),
        (
            write!("parts", "logged", "put", "gone"),
            &["worlds_pkey", "world_state_pkey"],
        ),
    ] {
        let plan = plan(sql, statement).await;
        assert!(!plan.contains("Seq Scan"), "{plan}");
        for line in plan
            .lines()
            .filter(|line| line.contains("Index") && line.contains("Scan"))
        {
            let scan = plan.lines().skip_while(|other| *other != line).nth(1);
            let condition = scan.unwrap_or_default().trim_start();
            assert!(
                condition.starts_with("Index Cond: "),
                "{line} reads a whole table:\n{plan}"
            );
        }
        for key in keys {
            assert!(plan.contains(key), "{key} is not used:\n{plan}");
        }
    }
    // A page is read in the order of its key, and no further than its rows.
    for statement in [
        include_str!("../src/sql/select_log.sql"),
        include_str!("../src/sql/select_state.sql"),
        include_str!("../src/sql/select_state_collection.sql"),
        include_str!("../src/sql/select_worlds.sql"),
    ] {
        let plan = plan(sql, statement).await;
        let limited = scans_below("Limit", &plan);
        assert!(limited.contains(&"Index"), "{plan}");
        for scan in scans_below("Sort", &plan) {
            // The sizes of the rows of a page, which were read already.
            assert_eq!(scan, "CTE", "{plan}");
        }
    }
}

/// What each node of a name reads, which is the next scan that the plan names.
fn scans_below<'plan>(node: &str, plan: &'plan str) -> Vec<&'plan str> {
    let lines: Vec<_> = plan
        .lines()
        .map(|line| line.trim_start_matches(['-', '>', ' ']))
        .collect();
    let is_node = |line: &str| line.ends_with(node);
    let scan = |line: &&'plan str| line.split_once(" Scan").map(|(kind, _)| kind);
    let below = lines.iter().enumerate().filter(|(_, line)| is_node(line));
    below
        .filter_map(|(at, _)| lines.get(at + 1..)?.iter().find_map(scan))
        .collect()
}
