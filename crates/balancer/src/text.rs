//! Numbers as text, for what is written with every request: the general formatting machinery costs a tenth of all that
//! a request costs.

use std::net::IpAddr;
use std::time::Duration;

/// The two hexadecimal digits of each byte.
const HEX_PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 0xf]];
        byte += 1;
    }
    pairs
};

/// A number's digits.
pub(crate) fn decimal(number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    let mut left = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            return &digits[start..];
        }
    }
}

/// Appends a number.
pub(crate) fn push_decimal(out: &mut String, number: u64) {
    push_ascii(out, decimal(number, &mut [0; 20]));
}

/// Appends the last `WIDTH` digits of a number, with zeros in front.
pub(crate) fn push_digits<const WIDTH: usize>(out: &mut String, number: u64) {
    let mut digits = [b'0'; WIDTH];
    let mut left = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    push_ascii(out, &digits);
}

/// Appends 16 hexadecimal digits.
pub(crate) fn push_hex(out: &mut String, number: u64) {
    let mut digits = [0; 16];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&HEX_PAIRS[usize::from(byte)]);
    }
    push_ascii(out, &digits);
}

/// Appends a duration in milliseconds with three decimal places.
pub(crate) fn push_ms_exact(out: &mut String, duration: Duration) {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    push_decimal(out, us / 1000);
    out.push('.');
    push_digits::<3>(out, us % 1000);
}

/// Appends a duration in milliseconds with one decimal place.
pub(crate) fn push_ms(out: &mut String, duration: Duration) {
    let tenths = u64::try_from(duration.as_micros())
        .unwrap_or(u64::MAX)
        .saturating_add(50)
        / 100;
    push_decimal(out, tenths / 10);
    out.push('.');
    push_digits::<1>(out, tenths % 10);
}

/// Appends an address.
pub(crate) fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [first, others @ ..] = address.octets();
            out.extend_from_slice(decimal(first.into(), &mut [0; 20]));
            for octet in others {
                out.push(b'.');
                out.extend_from_slice(decimal(octet.into(), &mut [0; 20]));
            }
        }
        IpAddr::V6(address) => out.extend_from_slice(address.to_string().as_bytes()),
    }
}

fn push_ascii(out: &mut String, digits: &[u8]) {
    out.push_str(std::str::from_utf8(digits).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        push(&mut out);
        out
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for number in [0, 7, 10, 99, 100, 65_535, 1 << 40, u64::MAX] {
            assert_eq!(text(|out| push_decimal(out, number)), number.to_string());
            assert_eq!(text(|out| push_hex(out, number)), format!("{number:016x}"));
        }
        assert_eq!(text(|out| push_digits::<3>(out, 7)), "007");
    }

    #[test]
    fn durations_are_written_in_milliseconds() {
        let us = Duration::from_micros;
        for (duration, exact, short) in [
            (us(0), "0.000", "0.0"),
            (us(49), "0.049", "0.0"),
            (us(50), "0.050", "0.1"),
            (us(1_500), "1.500", "1.5"),
            (us(12_960), "12.960", "13.0"),
        ] {
            assert_eq!(text(|out| push_ms_exact(out, duration)), exact);
            assert_eq!(text(|out| push_ms(out, duration)), short);
        }
    }

    #[test]
    fn addresses_of_both_families_are_written() {
        for address in ["192.0.2.7", "0.0.0.0", "255.10.100.1", "2001:db8::7"] {
            let parsed = address.parse().expect("an address");
            let mut out = Vec::new();
            push_address(&mut out, parsed);
            assert_eq!(out, address.as_bytes());
        }
    }
}
