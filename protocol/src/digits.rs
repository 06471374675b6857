//! The digit sum, in safe code that the compiler vectorizes.

/// Bytes that are summed together: at most 28, so that their sum fits a byte (28 × 9 = 252).
const ROW: usize = 16;

/// Rows of a long line between two checks that all bytes were digits.
const ROWS: usize = 8;

/// Returns the number of ASCII digits that `text` starts with, and their sum.
pub(crate) fn sum_leading(text: &[u8]) -> (usize, u64) {
    let (rows, _) = text.as_chunks();
    let mut sum = 0;
    let mut count = 0;
    // Most lines end in the first row, where reading a block of rows would be wasted.
    if let Some(first) = rows.first_chunk::<1>().and_then(sum_of_digits) {
        sum += first;
        count += 1;
        for block in rows[1..].as_chunks::<ROWS>().0 {
            let Some(block_sum) = sum_of_digits(block) else {
                break;
            };
            sum += block_sum;
            count += ROWS;
        }
        for row in rows[count..].as_chunks::<1>().0 {
            let Some(row_sum) = sum_of_digits(row) else {
                break;
            };
            sum += row_sum;
            count += 1;
        }
    }
    let mut length = count * ROW;
    for byte in &text[length..] {
        if !byte.is_ascii_digit() {
            break;
        }
        sum += u64::from(byte - b'0');
        length += 1;
    }
    (length, sum)
}

/// Returns the sum of the digits in these rows, or `None` if a byte is not a digit.
fn sum_of_digits<const COUNT: usize>(rows: &[[u8; ROW]; COUNT]) -> Option<u64> {
    let mut all_digits = true;
    let mut sum = 0;
    for row in rows {
        let values = row.map(|byte| byte.wrapping_sub(b'0'));
        all_digits &= values.iter().fold(true, |all, value| all & (*value <= 9));
        sum += u64::from(
            values
                .iter()
                .fold(0_u8, |sum, value| sum.wrapping_add(*value)),
        );
    }
    all_digits.then_some(sum)
}
