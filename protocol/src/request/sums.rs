//! Lemma 3 of `tests/proof`: no decision depends on the value of a sum, and sums are added up exactly.
//!
//! Here, because only a test inside the crate can begin with any sum.

use std::vec;
use std::vec::Vec;

use super::{Body, Request, RequestDecoder, Tail, Word};

const TAILS: [Tail; 4] = [Tail::Nothing, Tail::Space, Tail::Blanks, Tail::Return];

/// The digits that follow at most, in these tests.
const LENGTH_MAX: usize = 300;

/// The largest sum to which these digits can be added.
const SUM_MAX: u64 = u64::MAX - 9 * LENGTH_MAX as u64;

/// Sums at which arithmetic in fewer bits would go wrong: around each power of two, and the largest.
fn sums() -> Vec<u64> {
    let mut sums: Vec<u64> = (0..64)
        .flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1])
        .collect();
    sums.extend([SUM_MAX - 1, SUM_MAX]);
    sums
}

fn plus(decoder: &RequestDecoder, sum: u64) -> RequestDecoder {
    let body = match decoder.body {
        Body::Digits(digits) => Body::Digits(digits + sum),
        body => body,
    };
    RequestDecoder {
        body,
        tail: decoder.tail,
    }
}

fn request_plus(request: Option<Request>, sum: u64) -> Option<Request> {
    match request {
        Some(Request::Digits(digits)) => Some(Request::Digits(digits + sum)),
        request => request,
    }
}

/// A decoder that holds a sum does what a decoder that holds 0 does, and the sum stays added. *Enumerated:* each
/// tail, each of the 256 bytes and the end of the input, and digits of each length, at the [`sums`]. *Argued:* for
/// the sums between. The code only ever adds to a sum, and compares it with nothing.
#[test]
fn no_decision_depends_on_a_sum() {
    let mut inputs: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    inputs.extend((0..LENGTH_MAX).map(|length| vec![b'9'; length]));
    for tail in TAILS {
        let zero = RequestDecoder {
            body: Body::Digits(0),
            tail,
        };
        for sum in sums() {
            let start = plus(&zero, sum);
            assert_eq!(
                start.clone().finish(),
                request_plus(zero.clone().finish(), sum)
            );
            for input in &inputs {
                let (mut decoder, mut expected) = (start.clone(), zero.clone());
                let request = decoder.next(&mut &input[..]);
                let expected_request = expected.next(&mut &input[..]);
                assert_eq!(request, request_plus(expected_request, sum), "{sum}");
                assert_eq!(decoder, plus(&expected, sum), "{sum}");
            }
        }
    }
}

/// Each digit does what `0` does, and adds its value. So `0` stands for all digits in the other lemmas.
/// *Enumerated:* each body, each tail, each digit.
#[test]
fn each_digit_is_zero_plus_its_value() {
    let words = (1..Word::COUNT_MAX as u8).map(|word| Body::Word(Word(word)));
    for body in words.chain([Body::Nothing, Body::Digits(0), Body::Invalid]) {
        for tail in TAILS {
            let start = RequestDecoder { body, tail };
            let after = |digit: u8| {
                let mut decoder = start.clone();
                assert_eq!(decoder.next(&mut &[digit][..]), None);
                decoder
            };
            for digit in b'0'..=b'9' {
                assert_eq!(
                    after(digit),
                    plus(&after(b'0'), u64::from(digit - b'0')),
                    "{start:?}"
                );
            }
        }
    }
}

/// A sum cannot overflow before 2·10^18 digits, which take 50 years at 10 Gbit/s.
#[test]
fn a_sum_of_many_digits_does_not_overflow() {
    assert!(9_u64.checked_mul(2_000_000_000_000_000_000).is_some());
}
