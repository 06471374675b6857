//! Lemma 3: no decision depends on the value of a sum, and sums are added up exactly.
//!
//! Values near the largest take longer than a human life to reach byte by byte. So a test inside the crate, which
//! can write any value into a decoder, enumerates those: `src/request/sums.rs`. This module reaches beyond 32 bits
//! the long way.

use chime_protocol::{Request, RequestDecoder};

/// The sum is right at every step around 2^16 and 2^32. *Enumerated:* lengths around these sums.
#[test]
fn a_sum_crosses_16_and_32_bits() {
    let mut decoder = RequestDecoder::new();
    let mut sum = 0;
    let nines = [b'9'; 1 << 16];
    for boundary in [1 << 8, 1 << 16, 1_u64 << 32] {
        while sum + 9 * nines.len() as u64 + 100 < boundary {
            assert_eq!(decoder.next(&mut &nines[..]), None);
            sum += 9 * nines.len() as u64;
        }
        while sum < boundary + 100 {
            assert_eq!(decoder.next(&mut &b"9"[..]), None);
            sum += 9;
            assert_eq!(decoder.clone().finish(), Some(Request::Digits(sum)));
            let mut row = decoder.clone();
            assert_eq!(row.next(&mut &nines[..100]), None);
            assert_eq!(row.finish(), Some(Request::Digits(sum + 900)));
        }
    }
}
