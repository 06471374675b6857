//! The digit sum, in safe code that the compiler vectorizes.

/// Bytes that are summed together: at most 28, so that their sum fits a byte (28 × 9 = 252).
const ROW: usize = 16;

/// Rows of a long line between two checks that all bytes were digits.
const ROWS: usize = 8;

/// Returns the number of ASCII digits that `text` starts with, and their sum.
pub(crate) fn sum_leading(text: &[u8]) -> (usize, u64) {
    let (all_rows, _) = text.as_chunks();
    let mut rows = all_rows;
    let mut sum = 0;
    // Most lines end in the first row, where reading a block of rows would be wasted.
    if let Some(row_sum) = take_rows::<1>(&mut rows) {
        sum += row_sum;
        while let Some(block_sum) = take_rows::<ROWS>(&mut rows) {
            sum += block_sum;
        }
        while let Some(row_sum) = take_rows::<1>(&mut rows) {
            sum += row_sum;
        }
    }
    let mut length = (all_rows.len() - rows.len()) * ROW;
    for byte in &text[length..] {
        if !byte.is_ascii_digit() {
            break;
        }
        sum += u64::from(byte - b'0');
        length += 1;
    }
    (length, sum)
}

/// Takes `COUNT` rows off the front and returns the sum of their digits. Returns `None` and takes nothing if
/// there are fewer rows or a byte is not a digit.
fn take_rows<const COUNT: usize>(rows: &mut &[[u8; ROW]]) -> Option<u64> {
    let (block, rest) = rows.split_first_chunk::<COUNT>()?;
    let mut all_digits = true;
    let mut sum = 0;
    for row in block {
        let values = row.map(|byte| byte.wrapping_sub(b'0'));
        all_digits &= values.iter().fold(true, |all, value| all & (*value <= 9));
        sum += u64::from(
            values
                .iter()
                .fold(0_u8, |sum, value| sum.wrapping_add(*value)),
        );
    }
    all_digits.then(|| {
        *rows = rest;
        sum
    })
}
