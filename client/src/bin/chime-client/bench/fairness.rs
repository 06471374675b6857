//! Fairness between the connections.

/// The spread of replies over the connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fairness {
    /// The fewest replies of a connection.
    pub(crate) replies_min: u64,
    /// The most replies of a connection.
    pub(crate) replies_max: u64,
    /// Jain's fairness index, (sum x)² / (n · sum x²): 1 if all connections have the same number of
    /// replies, 1/n if one connection has all. None without replies.
    pub(crate) index: Option<f64>,
}

impl Fairness {
    /// Computes the fairness from the number of replies of each connection; none without connections.
    pub(crate) fn of(replies: impl IntoIterator<Item = u64>) -> Option<Fairness> {
        let mut replies = replies.into_iter().peekable();
        let first = *replies.peek()?;
        let (mut replies_min, mut replies_max) = (first, first);
        let (mut count, mut sum, mut sum_of_squares) = (0.0, 0.0, 0.0);
        for replies in replies {
            replies_min = replies_min.min(replies);
            replies_max = replies_max.max(replies);
            let replies = replies as f64;
            count += 1.0;
            sum += replies;
            sum_of_squares += replies * replies;
        }
        Some(Fairness {
            replies_min,
            replies_max,
            index: (sum > 0.0).then(|| sum * sum / (count * sum_of_squares)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Fairness;

    #[test]
    fn the_index_is_jains() {
        for (replies, replies_min, replies_max, index) in [
            (&[7][..], 7, 7, Some(1.0)),
            (&[5, 5, 5, 5], 5, 5, Some(1.0)),
            (&[0, 9, 0, 0], 0, 9, Some(0.25)),
            (&[4, 2], 2, 4, Some(0.9)),
            (&[0, 0], 0, 0, None),
            // Squares beyond 64 bits.
            (&[1 << 40, 0], 0, 1 << 40, Some(0.5)),
        ] {
            let expected = Fairness {
                replies_min,
                replies_max,
                index,
            };
            let fairness = Fairness::of(replies.iter().copied());
            assert_eq!(fairness, Some(expected), "{replies:?}");
        }
        assert_eq!(Fairness::of([]), None);
    }
}
