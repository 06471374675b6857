//! Which bytes of an input are digits to be summed, and which are no more than its end.

use crate::error::Error;

/// Looks at the bytes of an input, block by block: digits, and after them nothing but white space.
#[derive(Debug, Default)]
pub(crate) struct Digits {
    /// How many bytes there have been.
    offset: u64,
    /// The first byte that is no digit, and its offset, if it may belong to the white space at the end.
    blank: Option<(u64, u8)>,
    any: bool,
}

impl Digits {
    /// The digits that `block` begins with; after them there is only white space.
    pub(crate) fn take<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], Error> {
        let start = self.offset;
        self.offset += block.len() as u64;
        let length = match self.blank {
            Some(_) => 0,
            None => {
                let end = block.iter().position(|byte| !byte.is_ascii_digit());
                end.unwrap_or(block.len())
            }
        };
        let (digits, rest) = block.split_at(length);
        self.any |= !digits.is_empty();
        if let Some(first) = rest.first() {
            let (offset, byte) = *self.blank.get_or_insert((start + length as u64, *first));
            if !rest.iter().all(u8::is_ascii_whitespace) {
                return Err(Error::NotDigit { offset, byte });
            }
        }
        Ok(digits)
    }

    /// Whether this is an input that has a sum: there has to be a digit.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        match self.any {
            true => Ok(()),
            false => Err(Error::NoDigits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Digits;

    /// The digits of an input that is read in blocks of such a size, or what is wrong with it.
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
    fn white_space_counts_unless_it_is_at_the_end() {
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
                let fault = format!("the byte '{byte}' at offset 5 is no digit");
                let digits = read(&format!("12345{end}"), block_bytes);
                assert_eq!(digits, Err(fault), "{block_bytes} {end:?}");
            }
        }
    }

    #[test]
    fn white_space_alone_is_no_digits() {
        for input in ["", "\n", "        "] {
            assert_eq!(read(input, 3), Err("there are no digits".to_owned()));
        }
    }
}
