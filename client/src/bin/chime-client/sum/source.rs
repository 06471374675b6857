//! Where digits come from, what is wrong with them, and the blocks that they are read in.

use std::error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// The most bytes of a block.
const BLOCK_BYTES: u64 = 65_536;

/// Where digits come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    StandardInput,
}

impl Source {
    /// Opens it, and tells how many bytes it has if that is known.
    pub(crate) fn open(&self) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
        let Source::File(path) = self else {
            return Ok((Box::new(io::stdin()), None));
        };
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let length = metadata.is_file().then_some(metadata.len());
        Ok((Box::new(file), length))
    }
}

impl fmt::Display for Source {
    /// A name of a file may hold anything; what is written is one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display().to_string().escape_debug()),
            Source::StandardInput => write!(f, "standard input"),
        }
    }
}

/// What is wrong with a source.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It cannot be read.
    Read(io::Error),
    /// There are no digits in it.
    Empty,
    /// There is a byte in it that is no digit.
    NotDigit {
        /// How many bytes there are before it.
        offset: u64,
        byte: u8,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Read(error) => write!(f, "{error}"),
            Fault::Empty => write!(f, "there are no digits"),
            Fault::NotDigit { offset, byte } => {
                let text = byte.escape_ascii();
                write!(f, "the byte '{text}' at offset {offset} is no digit")
            }
        }
    }
}

impl error::Error for Fault {}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        match fault {
            Fault::Read(error) => error,
            fault => io::Error::other(fault),
        }
    }
}

impl From<io::Error> for Fault {
    /// Undoes the other conversion.
    fn from(error: io::Error) -> Fault {
        error.downcast().unwrap_or_else(Fault::Read)
    }
}

/// Reads digits in full blocks, and looks at each before it gives it away.
#[derive(Debug)]
pub(crate) struct Blocks<R> {
    input: R,
    /// How many bytes have been read.
    offset: u64,
    /// The first byte that is no digit, if it may belong to the blanks at the end.
    blank: Option<(u64, u8)>,
    has_digits: bool,
    /// Whether the input has ended. A person at a terminal has to end it anew for each read after that.
    is_ended: bool,
}

impl<R: Read> Blocks<R> {
    pub(crate) fn new(input: R) -> Blocks<R> {
        Blocks {
            input,
            offset: 0,
            blank: None,
            has_digits: false,
            is_ended: false,
        }
    }

    /// The next digits, without the white space at the end of all; no bytes when there are no more.
    pub(crate) fn next(&mut self) -> Result<Vec<u8>, Fault> {
        let capacity = usize::try_from(BLOCK_BYTES).expect("a block fits into memory");
        let mut block = Vec::with_capacity(capacity);
        loop {
            block.clear();
            if !self.is_ended {
                let mut input = self.input.by_ref().take(BLOCK_BYTES);
                let length = input.read_to_end(&mut block).map_err(Fault::Read)?;
                self.is_ended = (length as u64) < BLOCK_BYTES;
                self.check(&mut block)?;
            }
            if !block.is_empty() {
                self.has_digits = true;
                return Ok(block);
            }
            if self.is_ended {
                return match self.has_digits {
                    true => Ok(block),
                    false => Err(Fault::Empty),
                };
            }
        }
    }

    /// Cuts the block off at white space, after which there may be nothing else.
    fn check(&mut self, block: &mut Vec<u8>) -> Result<(), Fault> {
        let start = self.offset;
        self.offset += block.len() as u64;
        let digits = match self.blank {
            Some(_) => 0,
            None => {
                let end = block.iter().position(|byte| !byte.is_ascii_digit());
                end.unwrap_or(block.len())
            }
        };
        let rest = &block[digits..];
        let Some(first) = rest.first() else {
            return Ok(());
        };
        let (offset, byte) = *self.blank.get_or_insert((start + digits as u64, *first));
        if !rest.iter().all(u8::is_ascii_whitespace) {
            return Err(Fault::NotDigit { offset, byte });
        }
        block.truncate(digits);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::{BLOCK_BYTES, Blocks, Fault};

    /// All digits of `input`, or what is wrong with it.
    fn read(input: &[u8]) -> Result<Vec<u8>, String> {
        let mut blocks = Blocks::new(input);
        let mut digits = Vec::new();
        loop {
            match blocks.next() {
                Ok(block) if block.is_empty() => return Ok(digits),
                Ok(block) => digits.extend(block),
                Err(fault) => return Err(fault.to_string()),
            }
        }
    }

    #[test]
    fn white_space_counts_unless_it_is_at_the_end() {
        for length in [1, 5, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1] {
            let length = usize::try_from(length).unwrap();
            let digits = vec![b'7'; length];
            for end in ["", "\n", "\r\n", " \t\r\n\n", &"\n".repeat(200_000)] {
                let input = [&*digits, end.as_bytes()].concat();
                assert_eq!(read(&input), Ok(digits.clone()), "{length} {end:?}");
            }
            for end in ["a", " 7", "\n7", "\r\n\0", &("\n".repeat(200_000) + "7")] {
                let input = [&*digits, end.as_bytes()].concat();
                let byte = end.as_bytes()[0];
                let offset = length as u64;
                let fault = Fault::NotDigit { offset, byte };
                assert_eq!(read(&input), Err(fault.to_string()), "{length}");
            }
        }
    }

    /// Digits that a person ends once.
    struct Typed(Option<&'static [u8]>);

    impl Read for Typed {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let typed = self.0.take().expect("it has ended");
            match typed {
                b"" => Ok(0),
                typed => {
                    buffer[..typed.len()].copy_from_slice(typed);
                    self.0 = Some(b"");
                    Ok(typed.len())
                }
            }
        }
    }

    #[test]
    fn an_input_that_has_ended_is_not_read_again() {
        let mut blocks = Blocks::new(Typed(Some(b"12\n")));
        assert_eq!(blocks.next().unwrap(), b"12");
        assert_eq!(blocks.next().unwrap(), b"");
    }

    #[test]
    fn white_space_alone_is_no_digits() {
        for input in ["", "\n", &" ".repeat(200_000)] {
            assert_eq!(read(input.as_bytes()), Err(Fault::Empty.to_string()));
        }
    }
}
