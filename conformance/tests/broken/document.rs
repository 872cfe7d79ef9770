//! The matrix as a document: MATRIX.md.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use super::matrix::{BESIDE, Matrix, NEED_A_BROKEN_CONTROLLER};
use super::table::Defective;

/// The variable that asks for the document to be written instead of compared.
const UPDATE: &str = "AQEVIA_UPDATE_MATRIX";

/// MATRIX.md as it is kept.
pub(crate) struct Document(String);

impl Document {
    /// The document in the folder of this crate; none if it is to be written.
    pub(crate) fn kept() -> Option<Self> {
        match std::env::var_os(UPDATE) {
            Some(_) => None,
            None => Some(Self(fs::read_to_string(path()).unwrap_or_default())),
        }
    }

    /// Writes the document of a matrix.
    pub(crate) fn write(matrix: &Matrix) -> Result<(), String> {
        fs::write(path(), render(matrix)).map_err(|error| error.to_string())
    }

    /// Whether the document says that a defect fails a check.
    pub(crate) fn says(&self, defect: &str, check: &str) -> bool {
        let row = format!("| `{check}` |");
        let rows = self.0.lines().filter(|line| line.starts_with(&row));
        let name = format!("`{defect}`");
        rows.into_iter().any(|line| line.contains(&name))
    }

    /// Compares the document with that of a matrix. The difference, line by line, if there is one.
    pub(crate) fn check(&self, matrix: &Matrix) -> Result<(), String> {
        let text = render(matrix);
        if self.0 == text {
            return Ok(());
        }
        let gone = self
            .0
            .lines()
            .filter(|line| !text.lines().any(|l| l == *line));
        let come = text
            .lines()
            .filter(|line| !self.0.lines().any(|l| l == *line));
        let mut difference = format!(
            "the matrix is not that of MATRIX.md; if it is right, write it by\n\
             {UPDATE}=1 cargo test -p conformance --test broken the_matrix\n"
        );
        for (sign, line) in gone.map(|l| ('-', l)).chain(come.map(|l| ('+', l))) {
            difference.push_str(&format!("{sign} {line}\n"));
        }
        Err(difference)
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("MATRIX.md")
}

/// How many defects there are, and how many of them fail functions of their own clause alone.
pub(crate) fn summary(matrix: &Matrix) -> String {
    let defects = matrix.defects();
    let narrow = defects
        .iter()
        .filter(|defect| matrix.other_ids(defect).is_empty());
    format!(
        "{} defects, of which {} fail their own clause alone; {} clause functions, of which {} \
         need a broken controller",
        defects.len(),
        narrow.count(),
        matrix.clauses().len(),
        NEED_A_BROKEN_CONTROLLER.len()
    )
}

fn render(matrix: &Matrix) -> String {
    let mut text = INTRODUCTION.to_owned();
    let rows = [
        writeln!(text, "\n{}.\n", summary(matrix)),
        write_defects(&mut text, matrix),
        write_checks(&mut text, matrix),
        write_exceptions(&mut text),
    ];
    rows.into_iter()
        .collect::<Result<(), _>>()
        .expect("a string takes all");
    text
}

const INTRODUCTION: &str = "\
# The suite of the suite

Does a test of the suite fail where its clause is broken, and there alone? Each defect below is a
backend that is sound but for one thing, over a store in memory. `tests/broken.rs` runs every clause
function on every one of them, compares what fails with these tables, and writes them if
`AQEVIA_UPDATE_MATRIX` is set. A defect has to fail the function that it is made for, in the words
of that clause. Others may fail with it, since their promises include what is broken: a row that is
lost from a part is lost from the state as well.

*histories* are those of eight fixed seeds, 60 steps each, compared with the model at every step;
*faults* are lost, late and dropped calls. Neither has a clause of its own.
";

fn write_defects(text: &mut String, matrix: &Matrix) -> std::fmt::Result {
    writeln!(text, "## What each defect fails\n")?;
    writeln!(
        text,
        "| defect | the backend | made for | also fails | histories | faults |"
    )?;
    writeln!(text, "| --- | --- | --- | --- | --- | --- |")?;
    for defect in matrix.defects() {
        let Defective {
            name, does, clause, ..
        } = defect;
        let others = matrix.other_ids(defect).join(", ");
        let [histories, faults] = BESIDE.map(|check| match matrix.fails(defect, check) {
            true => "fail",
            false => "",
        });
        writeln!(
            text,
            "| `{name}` | {does} | `{clause}` | {others} | {histories} | {faults} |"
        )?;
    }
    Ok(())
}

fn write_checks(text: &mut String, matrix: &Matrix) -> std::fmt::Result {
    writeln!(text, "\n## What fails each function\n")?;
    writeln!(
        text,
        "| function | defects made for it | others that fail it |"
    )?;
    writeln!(text, "| --- | --- | --- |")?;
    for check in matrix.clauses().into_iter().chain(BESIDE) {
        let failing = matrix
            .defects()
            .iter()
            .filter(|defect| matrix.fails(defect, check));
        let (own, others): (Vec<_>, Vec<_>) = failing.partition(|defect| defect.clause == check);
        let [own, others] = [own, others].map(|defects| names(&defects));
        writeln!(text, "| `{check}` | {own} | {others} |")?;
    }
    Ok(())
}

fn names(defects: &[&Defective]) -> String {
    let names = defects.iter().map(|defect| format!("`{}`", defect.name));
    names.collect::<Vec<_>>().join(", ")
}

fn write_exceptions(text: &mut String) -> std::fmt::Result {
    writeln!(text, "\n## What needs a broken controller\n")?;
    writeln!(
        text,
        "No backend can break what these ask; it is the controller's doing alone. Broken controllers, \
         at least one a clause from C1 to C10, are in \
         [aqevia-storage/tests/simulation](../aqevia-storage/tests/simulation/broken.rs), where a \
         test demands that each is caught by the clause that names it.\n"
    )?;
    for (clause, why) in NEED_A_BROKEN_CONTROLLER {
        writeln!(text, "- `{clause}`: {why}")?;
    }
    Ok(())
}
