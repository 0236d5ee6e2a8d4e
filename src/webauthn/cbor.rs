//! A strict reader of the part of CBOR (RFC 8949) that authenticators write.
//!
//! It reads integers, byte strings, texts, lists, maps, booleans and null. Lengths are definite, each number
//! has its shortest form, and no key of a map occurs twice, as CTAP2 prescribes. The order of keys is not
//! checked, because software authenticators differ in it. Tags, floating-point numbers and indefinite lengths
//! are refused. What is read borrows from the input, so a long length in it allocates nothing.

/// How deep lists and maps may be inside each other. Attestation objects have three levels.
const DEEPEST: usize = 8;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Numbers that do not fit are refused.
    Number(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Bool(bool),
    Null,
}

impl<'a> Value<'a> {
    /// Reads one value that is the whole input.
    pub(super) fn read(input: &'a [u8]) -> Option<Self> {
        match Self::first(input)? {
            (value, []) => Some(value),
            _ => None,
        }
    }

    /// Reads the value at the beginning of the input. Returns it with the rest.
    pub(super) fn first(input: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut reader = Reader { rest: input };
        let value = reader.value(DEEPEST)?;
        Some((value, reader.rest))
    }

    /// Returns the value of a key of a map.
    pub(super) fn get(&self, key: &Self) -> Option<&Self> {
        match self {
            Self::Map(entries) => {
                entries.iter().find(|(one, _)| one == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// Returns the value of a text key of a map.
    pub(super) fn member(&self, name: &'a str) -> Option<&Self> {
        self.get(&Self::Text(name))
    }

    pub(super) fn as_bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(super) fn as_number(&self) -> Option<i64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(count).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    /// Reads the first byte of a value: its major type, and the number that follows.
    fn head(&mut self) -> Option<(u8, u64)> {
        let first = self.take(1)?[0];
        let (major, short) = (first >> 5, first & 0x1f);
        let width = match short {
            0..24 => return Some((major, u64::from(short))),
            24..=27 => 1 << (short - 24),
            _ => return None,
        };
        let bytes = self.take(width)?;
        let number = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let smallest = match width {
            1 => 24,
            _ => 1 << (4 * width),
        };
        // For the major type 7 these would be other simple values and floating-point numbers.
        (number >= smallest && major != 7).then_some((major, number))
    }

    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        let (major, number) = self.head()?;
        let inside = depth.checked_sub(1);
        Some(match major {
            0 => Value::Number(i64::try_from(number).ok()?),
            1 => Value::Number(-1 - i64::try_from(number).ok()?),
            2 => Value::Bytes(self.take(number)?),
            3 => Value::Text(std::str::from_utf8(self.take(number)?).ok()?),
            4 => {
                let mut list = Vec::new();
                for _ in 0..number {
                    list.push(self.value(inside?)?);
                }
                Value::List(list)
            }
            5 => {
                let mut map: Vec<(Value<'a>, Value<'a>)> = Vec::new();
                for _ in 0..number {
                    let key = self.value(inside?)?;
                    let is_plain = matches!(key, Value::Number(_) | Value::Text(_));
                    if !is_plain || map.iter().any(|(other, _)| *other == key) {
                        return None;
                    }
                    map.push((key, self.value(inside?)?));
                }
                Value::Map(map)
            }
            7 => match number {
                20 => Value::Bool(false),
                21 => Value::Bool(true),
                22 => Value::Null,
                _ => return None,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn read(hex: &str) -> Option<String> {
        let bytes = HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal");
        Value::read(&bytes).map(|value| format!("{value:?}"))
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 8949 appendix A.
        for (hex, value) in [
            ("00", "Number(0)"),
            ("17", "Number(23)"),
            ("1818", "Number(24)"),
            ("1903e8", "Number(1000)"),
            ("1a000f4240", "Number(1000000)"),
            ("1b000000e8d4a51000", "Number(1000000000000)"),
            ("20", "Number(-1)"),
            ("3863", "Number(-100)"),
            ("390100", "Number(-257)"),
            ("f4", "Bool(false)"),
            ("f5", "Bool(true)"),
            ("f6", "Null"),
            ("40", "Bytes([])"),
            ("4401020304", "Bytes([1, 2, 3, 4])"),
            ("60", "Text(\"\")"),
            ("62c3bc", "Text(\"ü\")"),
            ("80", "List([])"),
            ("83010203", "List([Number(1), Number(2), Number(3)])"),
            ("a0", "Map([])"),
            ("a201020304", "Map([(Number(1), Number(2)), (Number(3), Number(4))])"),
            ("a161616162", "Map([(Text(\"a\"), Text(\"b\"))])"),
        ] {
            assert_eq!(read(hex).as_deref(), Some(value), "{hex}");
        }
    }

    #[test]
    fn what_authenticators_do_not_write_is_refused() {
        for (hex, why) in [
            ("", "nothing"),
            ("0000", "something follows"),
            ("1817", "not the shortest form"),
            ("190018", "not the shortest form"),
            ("1a00000018", "not the shortest form"),
            ("1b0000000000000018", "not the shortest form"),
            ("5817", "shorter than its length"),
            ("581700", "not the shortest form of a length"),
            ("1b8000000000000000", "a number that is too large"),
            ("3b8000000000000000", "a number that is too small"),
            ("5bffffffffffffffff", "a length that is too large"),
            ("9bffffffffffffffff", "a list that is too long"),
            ("bbffffffffffffffff", "a map that is too long"),
            ("5f42010243030405ff", "an indefinite length"),
            ("9f01ff", "an indefinite length"),
            ("bf0102ff", "an indefinite length"),
            ("c074323031332d30332d32315432303a30343a30305a", "a tag"),
            ("f90000", "a floating-point number"),
            ("fa47c35000", "a floating-point number"),
            ("f7", "undefined"),
            ("f818", "another simple value"),
            ("f0", "another simple value"),
            ("ff", "a break"),
            ("1c", "a reserved length"),
            ("a201020103", "a key twice"),
            ("a18001", "a list as a key"),
            ("a14001", "bytes as a key"),
            ("61c3", "no UTF-8"),
            ("62c328", "no UTF-8"),
            ("8301", "a list without its end"),
            ("a101", "a key without a value"),
        ] {
            assert_eq!(read(hex), None, "{why}: {hex}");
        }
    }

    #[test]
    fn the_depth_is_limited() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
        assert!(Value::read(&nested(DEEPEST)).is_some());
        assert!(Value::read(&nested(DEEPEST + 1)).is_none());
        assert!(Value::read(&nested(100_000)).is_none());
        let maps = [[0xa1, 0x00].repeat(100_000), vec![0x00]].concat();
        assert!(Value::read(&maps).is_none());
    }

    #[test]
    fn the_rest_after_the_first_value_is_returned() {
        assert_eq!(Value::first(&[1, 2, 3]), Some((Value::Number(1), &[2, 3][..])));
    }
}
