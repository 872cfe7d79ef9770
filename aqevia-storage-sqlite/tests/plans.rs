//! Each statement finds its rows by a key, and none sorts.

use aqevia_storage::StorageBackend;
use rusqlite::types::Null;
use rusqlite::{Connection, params_from_iter};

use crate::store::{Folder, open};

fn plan(sql: &Connection, statement: &str) -> String {
    let mut explain = sql
        .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
        .unwrap();
    let nulls = vec![Null; explain.parameter_count()];
    let steps = explain
        .query_map(params_from_iter(nulls), |row| row.get("detail"))
        .unwrap();
    let steps: Vec<String> = steps.map(Result::unwrap).collect();
    steps.join("; ")
}

#[tokio::test]
async fn statements_use_their_keys() {
    let folder = Folder::new();
    open(folder.config()).await.close().await.unwrap();
    let sql = folder.sql();
    for (statement, expected) in [
        (
            include_str!("../src/sql/select_log.sql"),
            "SEARCH world_records USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        ),
        (
            include_str!("../src/sql/select_state_collections.sql"),
            "SEARCH state USING PRIMARY KEY (world=? AND collection>?); \
             SEARCH log USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
        ),
        (
            include_str!("../src/sql/select_state_collection.sql"),
            "SEARCH state USING PRIMARY KEY (world=? AND collection=? AND key>?); \
             SEARCH log USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
        ),
        (
            include_str!("../src/sql/select_state_key.sql"),
            "SEARCH state USING PRIMARY KEY (world=? AND collection=? AND key=?); \
             SEARCH log USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
        ),
        (
            include_str!("../src/sql/select_world.sql"),
            "SEARCH worlds USING INDEX sqlite_autoindex_worlds_1 (world_id=?)",
        ),
        (
            include_str!("../src/sql/select_worlds.sql"),
            "SEARCH worlds USING INDEX sqlite_autoindex_worlds_1 (world_id>?)",
        ),
        (
            include_str!("../src/sql/select_batch.sql"),
            "SEARCH world_batches USING PRIMARY KEY (world=? AND number=?)",
        ),
        (
            include_str!("../src/sql/update_world_head.sql"),
            "SEARCH worlds USING INTEGER PRIMARY KEY (rowid=?)",
        ),
        (
            include_str!("../src/sql/delete_state.sql"),
            "SEARCH world_state USING PRIMARY KEY (world=? AND collection=? AND key=?)",
        ),
    ] {
        assert_eq!(plan(&sql, statement), expected, "{statement}");
    }
}
