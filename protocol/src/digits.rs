//! The digit sum: safe code that the compiler turns into vector code.

/// Bytes looked at together: at most 28, so that their sum fits a byte (28 × 9 = 252).
const BLOCK: usize = 16;

/// The number of ASCII digits that `text` starts with, and their sum.
pub(crate) fn leading(text: &[u8]) -> (usize, u64) {
    let mut sum = 0;
    let mut length = 0;
    let (blocks, _) = text.as_chunks::<BLOCK>();
    for block in blocks {
        let Some(block_sum) = sum_of_block(block) else {
            break;
        };
        sum += u64::from(block_sum);
        length += BLOCK;
    }
    for byte in &text[length..] {
        if !byte.is_ascii_digit() {
            break;
        }
        sum += u64::from(byte - b'0');
        length += 1;
    }
    (length, sum)
}

/// The sum of a block that is all digits.
fn sum_of_block(block: &[u8; BLOCK]) -> Option<u8> {
    let values = block.map(|byte| byte.wrapping_sub(b'0'));
    let all_digits = values.iter().fold(true, |all, value| all & (*value <= 9));
    all_digits.then(|| values.iter().sum())
}
