//! What the checks of the suite are called in a certificate, and what is said of their figures.

/// A check's name, and what it does.
type About = (&'static str, &'static str);

pub(super) const HISTORIES: About = (
    "generated histories",
    "Random histories of parts, repeats, claims, reopenings and reads, which follow from the seed: \
     after each step the store answers, counts and holds what a model in plain collections says. \
     `cases` are the histories.",
);

pub(super) const EQUIVALENCE: About = (
    "equivalence",
    "The histories of these seeds leave a store whose contents hash to what those of the reference \
     backend hash to.",
);

pub(super) const FAULTS: About = (
    "faults",
    "In each case a fault befalls a part (its call never comes, is dropped or hangs, its answer is \
     lost, its backend is gone), and in most another writer claims the world. Persisted again, the \
     part was in the store already (`repeated`), came in then (`written`), or was refused because \
     of that claim (`fenced`).",
);

pub(super) const CRASH_SWEEP: About = (
    "crash sweep",
    "A process that writes is killed by SIGKILL at each step that it announces and at random \
     moments; what it was told is stored has to be there, once and in order. A kill counts as one \
     inside a commit if a batch with records was under way and one of three things shows it, of \
     which two may meet: it came after an inner step of the batch (`kills at inner steps`); or at a \
     random moment of a batch that is one statement (`kills within statements`); or a part was in \
     the store whose call had not answered (`kills with part stored`). `kills inside commits` \
     counts each such kill once. `kills of recoveries` came while a store was opened whose process \
     had been killed before. `recoveries` are the times that a store was opened and compared after \
     a kill, and `recovery ms` is what `init` and the claims of all worlds took in them. `lost` and \
     `doubled` are parts, and have to be 0.",
);

pub(super) const CONTROLLER_SWEEP: About = (
    "controller sweep",
    "A process with a whole controller in it is killed by SIGKILL at each step that it announces and \
     at random moments. In three worlds an engine plays a script that follows from the seed: records \
     without tickets, groups with tickets, commits, changed entities that are captured, and saves. \
     The next process opens the worlds, reads what is stored, and goes on behind it. After each kill \
     a plain backend shows that what was acknowledged is stored with all before it, that the log is \
     the script's without holes and with nothing twice, that groups are whole, that each key has the \
     state that the script gave it or a newer one, and that the entities stand as at one moment with \
     all records before it; after a process that nobody disturbs the whole script is there. Kills \
     are counted as in the crash sweep. `acknowledged groups` were told by a ticket or a commit, \
     `found groups` of them were in the log in the end; `lost` and `doubled` are groups, and have to \
     be 0. `captures` and `coalesced` (records whose place a newer one took) are those that \
     processes told of before they ended. `resume ms` is what a controller took to start, open all \
     worlds and read them after a kill.",
);

pub(super) const ZOMBIE: About = (
    "zombie",
    "A writer is stopped at each of the `steps` of persisting a part, and `timed` more writers at \
     random moments; another claims the world and writes; then the first goes on. Its part was \
     stored before that claim (`let in`), or is `refused`. A writer was `under way` if it had begun \
     to store the part and had no answer. `claims that waited` were made only when the stopped \
     writer went on.",
);

pub(super) const STORM: About = (
    "start-up storm",
    "In each of the `rounds` so many `processes` initialise one new store at the same moment. \
     `opened` and `refused` are what came of that, in all rounds: a store that is not shared has to \
     refuse all processes but one. All that opened it claim one world: `fenced` are their parts \
     that were refused because another process claimed it meanwhile.",
);

pub(super) const NO_ROOM: About = (
    "no room",
    "Twice a small file system is filled: `parts` went in before the room ended. A part without \
     room was refused (`full`), or its fate was unknown (`ambiguous`). With room made, one was \
     persisted again, and was in, once, after so many `tries`.",
);

pub(super) const FIGURES: About = (
    "figures",
    "Not a check: what this machine measured in this run, with `batches` persisted one after the \
     other. `batch ms` is how long one takes; `store bytes` is the size of the store in the end, \
     after it was closed and opened again.",
);

/// The checks that start processes.
pub(super) const BETWEEN_PROCESSES: [About; 5] =
    [CRASH_SWEEP, CONTROLLER_SWEEP, ZOMBIE, STORM, NO_ROOM];
