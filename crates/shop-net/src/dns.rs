//! Just enough of the DNS wire format (RFC 1035) to ask for the name behind an address.

use std::net::Ipv4Addr;

/// Largest answer that plain UDP may carry, and so the largest that is read.
pub(crate) const MESSAGE_BYTES_MAX: usize = 512;

const TYPE_PTR: u16 = 12;
const CLASS_IN: u16 = 1;
const NAME_BYTES_MAX: usize = 255;
const POINTERS_MAX: usize = 8;

/// A query for the names of `address`.
pub(crate) fn ptr_query(id: u16, address: Ipv4Addr) -> Vec<u8> {
    let mut message = Vec::with_capacity(64);
    message.extend(id.to_be_bytes());
    // Recursion desired; one question, nothing else.
    message.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for octet in address.octets().into_iter().rev() {
        push_label(&mut message, octet.to_string().as_bytes());
    }
    push_label(&mut message, b"in-addr");
    push_label(&mut message, b"arpa");
    message.push(0);
    message.extend(TYPE_PTR.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message
}

/// The labels up to 63 bytes that this module makes fit a length byte.
fn push_label(message: &mut Vec<u8>, label: &[u8]) {
    message.push(u8::try_from(label.len()).unwrap_or(63));
    message.extend(label);
}

/// The names in the answer to the query with this id; `None` for anything malformed, foreign or refused.
pub(crate) fn ptr_answers(message: &[u8], id: u16) -> Option<Vec<String>> {
    let mut reader = Reader { message, at: 0 };
    let answered_id = reader.u16()?;
    let flags = reader.u16()?;
    let is_response = flags & 0x8000 != 0;
    let response_code = flags & 0x000f;
    if answered_id != id || !is_response || response_code != 0 {
        return None;
    }
    let question_count = reader.u16()?;
    let answer_count = reader.u16()?;
    reader.skip(4)?;
    for _ in 0..question_count {
        reader.name()?;
        reader.skip(4)?;
    }
    let mut names = Vec::new();
    for _ in 0..answer_count {
        reader.name()?;
        let record_type = reader.u16()?;
        let class = reader.u16()?;
        reader.skip(4)?;
        let data_length = usize::from(reader.u16()?);
        let data_end = reader.at.checked_add(data_length)?;
        if record_type == TYPE_PTR && class == CLASS_IN {
            names.push(reader.name()?);
            if reader.at != data_end {
                return None;
            }
        }
        reader.at = data_end;
        if reader.at > message.len() {
            return None;
        }
    }
    Some(names)
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let byte = *self.message.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes)?;
        (self.at <= self.message.len()).then_some(())
    }

    /// Reads a name, following compression pointers; afterwards the reader stands behind the name's first part.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut pointers = 0;
        let mut resume_at = None;
        loop {
            let length = self.u8()?;
            match length {
                0 => break,
                1..=63 => {
                    let label = self.message.get(self.at..self.at + usize::from(length))?;
                    self.at += usize::from(length);
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.push_str(std::str::from_utf8(label).ok()?);
                    if name.len() > NAME_BYTES_MAX {
                        return None;
                    }
                }
                0xc0.. => {
                    let target = usize::from(length & 0x3f) << 8 | usize::from(self.u8()?);
                    pointers += 1;
                    if pointers > POINTERS_MAX {
                        return None;
                    }
                    resume_at.get_or_insert(self.at);
                    self.at = target;
                }
                _ => return None,
            }
        }
        if let Some(resume_at) = resume_at {
            self.at = resume_at;
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 213, 2, 131);

    /// The query's question, then one answer whose owner is a pointer to the question.
    fn answer(id: u16, name: &[&str]) -> Vec<u8> {
        let mut message = ptr_query(id, ADDRESS);
        message[2] = 0x81;
        message[3] = 0x80;
        message[7] = 1;
        message.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 2, 88]);
        let mut data = Vec::new();
        for label in name {
            push_label(&mut data, label.as_bytes());
        }
        data.push(0);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
        message
    }

    #[test]
    fn the_question_names_the_address_backwards() {
        let mut reader = Reader {
            message: &ptr_query(7, ADDRESS),
            at: 12,
        };
        assert_eq!(reader.name().as_deref(), Some("131.2.213.10.in-addr.arpa"));
    }

    #[test]
    fn a_compressed_answer_is_read() {
        let message = answer(7, &["zillion-inventory-2", "zillion_web"]);
        assert_eq!(
            ptr_answers(&message, 7),
            Some(vec!["zillion-inventory-2.zillion_web".to_owned()])
        );
    }

    #[test]
    fn another_id_a_refusal_and_a_question_are_no_answers() {
        let message = answer(7, &["a"]);
        assert_eq!(ptr_answers(&message, 8), None);
        let mut refused = message;
        refused[3] |= 3;
        assert_eq!(ptr_answers(&refused, 7), None);
        assert_eq!(ptr_answers(&ptr_query(7, ADDRESS), 7), None);
    }

    #[test]
    fn every_truncation_is_refused_without_a_panic() {
        let message = answer(7, &["zillion-inventory-2", "zillion_web"]);
        for length in 0..message.len() {
            assert_eq!(ptr_answers(&message[..length], 7), None, "cut to {length} bytes");
        }
    }

    #[test]
    fn a_loop_of_pointers_ends() {
        let mut message = answer(7, &["a"]);
        let data_at = message.len() - 3;
        let pointer = 0xc000 | data_at as u16;
        message.truncate(data_at);
        message.extend(pointer.to_be_bytes());
        let length_at = data_at - 2;
        message[length_at + 1] = 2;
        assert_eq!(ptr_answers(&message, 7), None);
    }
}
