//! The day of a moment.

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Days from the first of March of the year 0 to the first day of 1970.
const TO_1970: i64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;

/// The day in UTC of a moment in milliseconds since 1970: `2026-03-01`.
pub(super) fn of(now_ms: i64) -> String {
    let days = now_ms.div_euclid(DAY_MS) + TO_1970;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    // Years begin in March here, so that a leap day is the last of its year.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_based = (5 * day + 2) / 153;
    let day = day - (153 * march_based + 2) / 5 + 1;
    let month = (march_based + 2) % 12 + 1;
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_on_its_day() {
        for (days, date) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (19_782, "2024-02-29"),
            (20_513, "2026-03-01"),
            (20_818, "2026-12-31"),
        ] {
            assert_eq!(of(days * DAY_MS), date);
            assert_eq!(of(days * DAY_MS + DAY_MS - 1), date);
        }
    }
}
