//! Finding segments by record time, although times may run backwards (S3).
//!
//! Segments are intervals of time in no order. They are indexed by class of length, then by end; see [`time_class`].

use crate::types::Timestamp;

/// The class of a span of time: how many hexadecimal digits its length in microseconds has.
///
/// A segment of class `c` begins at most `16^c` before it ends, so that a look-up by time, class by class, needs to
/// read only what ends between its own beginning and `16^c` after its end, however far times run backwards.
#[must_use]
pub fn time_class(min: Timestamp, max: Timestamp) -> u8 {
    let span = max.micros().abs_diff(min.micros());
    u8::try_from((u64::BITS - span.leading_zeros()).div_ceil(4)).expect("at most sixteen digits")
}

/// The latest end that a segment of `class` can have and still begin at or before `until`.
#[must_use]
pub fn end_max(class: u8, until: Timestamp) -> Timestamp {
    let span = 16_u128.pow(u32::from(class)) - 1;
    Timestamp(i64::try_from(i128::from(until.micros()) + span.cast_signed()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_bounds_the_length_of_its_spans() {
        assert_eq!(time_class(Timestamp(5), Timestamp(5)), 0);
        assert_eq!(time_class(Timestamp(5), Timestamp(20)), 1);
        assert_eq!(time_class(Timestamp(5), Timestamp(21)), 2);
        assert_eq!(time_class(Timestamp::MIN, Timestamp::MAX), 16);
        assert_eq!(end_max(0, Timestamp(7)), Timestamp(7));
        assert_eq!(end_max(1, Timestamp(7)), Timestamp(22));
        assert_eq!(end_max(16, Timestamp::MIN), Timestamp::MAX);
        for (min, max) in [(0, 0), (-9, 6), (-9, 7), (0, 255), (0, 256), (i64::MIN, 0)] {
            let class = time_class(Timestamp(min), Timestamp(max));
            assert!(end_max(class, Timestamp(min)) >= Timestamp(max), "{min}..={max}");
        }
    }
}
