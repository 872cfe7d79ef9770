//! Where the messages of Postgres' protocol end.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The type of the message by which the server says that it has answered all it was asked.
pub(super) const READY_FOR_QUERY: u8 = b'Z';

/// The longest message there is: a payload with some room.
const BYTES_MAX: usize = 1 << 30;

/// The codes in place of a protocol version that ask for encryption: by TLS, and by GSSAPI.
const ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];

/// Reads the first message of a client, which has no type.
pub(super) async fn read_startup(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    read_body(from, length, Vec::new()).await
}

/// Whether a first message asks for encryption; then another first message follows the answer.
pub(super) fn asks_for_encryption(startup: &[u8]) -> bool {
    let code = startup.get(4..8).and_then(|code| code.try_into().ok());
    code.is_some_and(|code| ENCRYPTION.contains(&u32::from_be_bytes(code)))
}

/// Reads a message that begins with its type.
pub(super) async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let kind = from.read_u8().await?;
    let length = from.read_u32().await?;
    read_body(from, length, vec![kind]).await
}

/// Reads what follows a length, which counts itself; the whole message.
async fn read_body(
    from: &mut (impl AsyncRead + Unpin),
    length: u32,
    mut message: Vec<u8>,
) -> io::Result<Vec<u8>> {
    let rest = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_sub(4));
    let Some(rest) = rest.filter(|rest| *rest <= BYTES_MAX) else {
        return Err(io::Error::other("a message of an impossible length"));
    };
    message.extend(length.to_be_bytes());
    let begin = message.len();
    message.resize(begin + rest, 0);
    from.read_exact(&mut message[begin..]).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_end_where_their_length_says() {
        let bytes = [
            0, 0, 0, 8, 4, 210, 22, 47, b'Q', 0, 0, 0, 5, 7, b'S', 0, 0, 0, 4, b'X',
        ];
        let mut from = bytes.as_slice();
        let startup = read_startup(&mut from).await.unwrap();
        assert_eq!(startup, bytes[..8]);
        assert!(asks_for_encryption(&startup));
        assert_eq!(read_message(&mut from).await.unwrap(), bytes[8..14]);
        assert_eq!(read_message(&mut from).await.unwrap(), bytes[14..19]);
        assert!(read_message(&mut from).await.is_err());
    }

    #[tokio::test]
    async fn an_impossible_length_is_an_error() {
        let mut from = [b'Q', 0, 0, 0, 3].as_slice();
        assert!(read_message(&mut from).await.is_err());
    }

    #[test]
    fn a_startup_message_of_a_session_asks_for_no_encryption() {
        assert!(!asks_for_encryption(&[0, 0, 0, 9, 0, 3, 0, 0, 0]));
    }
}
