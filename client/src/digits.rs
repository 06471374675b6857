//! Validates the input of a sum: digits, then white space.

use crate::error::Error;

/// Validates an input block by block: digits, then nothing but white space.
#[derive(Debug, Default)]
pub(crate) struct Digits {
    /// The number of bytes so far.
    offset: u64,
    /// The offset and the value of the first byte after the digits.
    first_other: Option<(u64, u8)>,
    has_digits: bool,
}

impl Digits {
    /// Returns the digits at the start of `block`, or an error if anything but white space follows them.
    pub(crate) fn take<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], Error> {
        let start = self.offset;
        self.offset += block.len() as u64;
        let length = match self.first_other {
            Some(_) => 0,
            None => {
                let end = block.iter().position(|byte| !byte.is_ascii_digit());
                end.unwrap_or(block.len())
            }
        };
        let (digits, rest) = block.split_at(length);
        self.has_digits |= !digits.is_empty();
        if let Some(first) = rest.first() {
            let (offset, byte) = *self
                .first_other
                .get_or_insert((start + length as u64, *first));
            if !rest.iter().all(u8::is_ascii_whitespace) {
                return Err(Error::NotDigit { offset, byte });
            }
        }
        Ok(digits)
    }

    /// Ends the input, or returns an error if it had no digits.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        match self.has_digits {
            true => Ok(()),
            false => Err(Error::NoDigits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Digits;

    /// Validates an input in blocks of `block_bytes`, and returns its digits or the error message.
    fn read(input: &str, block_bytes: usize) -> Result<Vec<u8>, String> {
        let mut digits = Digits::default();
        let mut taken = Vec::new();
        for block in input.as_bytes().chunks(block_bytes) {
            taken.extend(digits.take(block).map_err(|error| error.to_string())?);
        }
        digits.finish().map_err(|error| error.to_string())?;
        Ok(taken)
    }

    #[test]
    fn white_space_is_allowed_at_the_end_only() {
        for block_bytes in 1..8 {
            for end in ["", "\n", "\r\n", " \t\r\n\n", "\n\n\n\n\n\n\n\n"] {
                let digits = read(&format!("12345{end}"), block_bytes);
                assert_eq!(digits, Ok(b"12345".to_vec()), "{block_bytes} {end:?}");
            }
            for (end, byte) in [
                ("a", "a"),
                (" 7", " "),
                ("\n\n\n\n7", "\\n"),
                ("\r\n\0", "\\r"),
            ] {
                let error = format!("byte '{byte}' at offset 5 is not a digit");
                let digits = read(&format!("12345{end}"), block_bytes);
                assert_eq!(digits, Err(error), "{block_bytes} {end:?}");
            }
        }
    }

    #[test]
    fn white_space_alone_is_an_error() {
        for input in ["", "\n", "        "] {
            assert_eq!(read(input, 3), Err("no digits".to_owned()));
        }
    }
}
