//! Validates the input of a sum: digits, then white space, or white space anywhere.

use crate::error::Error;

/// Validates an input block by block: digits, then nothing but white space.
#[derive(Debug, Default)]
pub(crate) struct Digits {
    /// The number of bytes so far.
    offset: u64,
    /// The offset and the value of the first byte after the digits.
    first_other: Option<(u64, u8)>,
    has_digits: bool,
    /// Whether white space is allowed anywhere.
    ignores_white_space: bool,
}

impl Digits {
    /// Creates a validator that allows white space anywhere.
    pub(crate) fn ignoring_white_space() -> Digits {
        Digits {
            ignores_white_space: true,
            ..Digits::default()
        }
    }

    /// Returns the digits of `block`, moved to its front, or an error if it has another byte that is not allowed.
    pub(crate) fn take<'a>(&mut self, block: &'a mut [u8]) -> Result<&'a [u8], Error> {
        match self.ignores_white_space {
            true => self.take_all(block),
            false => self.take_first(block),
        }
    }

    /// Moves the digits of `block` to its front.
    fn take_all<'a>(&mut self, block: &'a mut [u8]) -> Result<&'a [u8], Error> {
        let mut length = 0;
        for index in 0..block.len() {
            let byte = block[index];
            if byte.is_ascii_digit() {
                block[length] = byte;
                length += 1;
            } else if !byte.is_ascii_whitespace() {
                let offset = self.offset + index as u64;
                return Err(Error::NotDigit { offset, byte });
            }
        }
        self.offset += block.len() as u64;
        self.has_digits |= length > 0;
        Ok(&block[..length])
    }

    /// Returns the digits at the start of `block`; after them, white space is allowed to the end of the input.
    fn take_first<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], Error> {
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
        read_with(Digits::default(), input, block_bytes)
    }

    fn read_with(mut digits: Digits, input: &str, block_bytes: usize) -> Result<Vec<u8>, String> {
        let mut taken = Vec::new();
        for block in input.to_owned().into_bytes().chunks_mut(block_bytes) {
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
    fn white_space_is_ignored_anywhere_on_request() {
        let read =
            |input, block_bytes| read_with(Digits::ignoring_white_space(), input, block_bytes);
        for block_bytes in 1..12 {
            for input in ["12345", " 12 345\r\n", "1\n2\t3\n\n\n45"] {
                let digits = read(input, block_bytes);
                assert_eq!(digits, Ok(b"12345".to_vec()), "{block_bytes} {input:?}");
            }
            let error = Err("byte 'a' at offset 6 is not a digit".to_owned());
            assert_eq!(read("12 34\na5", block_bytes), error, "{block_bytes}");
        }
    }

    #[test]
    fn white_space_alone_is_an_error() {
        for input in ["", "\n", "        "] {
            for digits in [Digits::default(), Digits::ignoring_white_space()] {
                let digits = read_with(digits, input, 3);
                assert_eq!(digits, Err("no digits".to_owned()));
            }
        }
    }
}
