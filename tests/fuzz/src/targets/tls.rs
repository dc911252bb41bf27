//! TLS: what comes instead of a handshake, handshakes that are damaged on their way, and records that a
//! client may seal which plays by no rules.
//!
//! Meanwhile the server writes and says goodbye, which must go well or be refused at any moment.

use std::io;
use std::sync::{Arc, LazyLock};

use bytes::BytesMut;
use edge::io::BareTls;
use rustls::client::Resumption;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::choices::{Choices, Pieces, listed, seed};

/// Bytes that may wait for the rest of a message.
const KEPT_BYTES_MAX: usize = 128 << 10;

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let how = choices.byte();
    let config = choices.one_of(&[&*CONFIGS_13, &*CONFIGS_12]);
    let at = usize::from(choices.byte()) << 3 | usize::from(choices.byte() & 7);
    let damage = choices.byte();
    let pieces = choices.pieces();
    match how % 3 {
        0 => {
            let bytes = choices.rest();
            let whole = Server::fed(config, &[bytes]);
            let cut = Server::fed(config, &pieces.cut(bytes));
            assert_eq!(cut.outcome(), whole.outcome(), "cutting it changes nothing");
        }
        1 => {
            let mut server = Server::new(config);
            let mut client = client(config);
            let shaken = server.shake_hands(&mut client, Some((at, damage)), &pieces);
            if damage == 0 {
                assert!(shaken);
                server.expect_echo(&mut client);
            } else {
                // Heads of records are not sealed, so it may have come to anything.
                server.read(&[0; 100]);
                let _ = server.tls.write(b"news");
                server.tls.finish();
            }
        }
        _ => sealed(&choices.list(), &pieces),
    }
}

/// A client that has shaken hands and seals what it likes: each item is a type and a payload.
fn sealed(list: &[&[u8]], pieces: &Pieces<'_>) {
    let outcomes = [false, true].map(|is_cut| {
        let mut server = Server::new(&CONFIGS_13);
        let mut client = client(&CONFIGS_13);
        assert!(server.shake_hands(&mut client, None, pieces));
        let (mut seq, mut sealer) = sealer(client);
        let mut bytes = Vec::new();
        for item in list {
            let (kind, payload) = item.split_first().unwrap_or((&23, &[]));
            bytes.extend(seal(&mut *sealer, seq, *kind, payload));
            seq += 1;
        }
        let cut = if is_cut { pieces.cut(&bytes) } else { vec![&bytes[..]] };
        for piece in cut {
            server.read(piece);
            let written = server.tls.write(b"news");
            assert_eq!(written.is_err(), server.failed, "a room may write at any moment");
        }
        server.tls.finish();
        let plain = list.iter().take_while(|item| item.len() > 1 && item[0] == 23);
        let plain: Vec<u8> =
            plain.flat_map(|item| &item[1..item.len().min(16_385)]).copied().collect();
        assert!(server.input.starts_with(&plain), "what was said before anything odd arrived");
        (server.input.to_vec(), server.failed, server.tls.is_over())
    });
    assert_eq!(outcomes[0], outcomes[1], "cutting it changes nothing");
}

struct Server {
    tls: BareTls,
    input: BytesMut,
    answered: usize,
    /// Bytes that were read.
    came: usize,
    failed: bool,
}

impl Server {
    fn new(configs: &Configs) -> Self {
        Self {
            tls: BareTls::new(&configs.server).expect("a configuration"),
            input: BytesMut::new(),
            answered: 0,
            came: 0,
            failed: false,
        }
    }

    fn fed(configs: &Configs, pieces: &[&[u8]]) -> Self {
        let mut server = Self::new(configs);
        for piece in pieces {
            server.read(piece);
            assert!(server.tls.write(b"news").is_err(), "nobody has shaken hands");
        }
        server.tls.finish();
        server
    }

    /// Reads a piece and answers it.
    fn read(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        if self.failed {
            return answer;
        }
        self.came += piece.len();
        self.failed = self.tls.read(piece, &mut answer, &mut self.input).is_err();
        assert!(self.tls.kept() <= KEPT_BYTES_MAX, "{}", self.tls.kept());
        if self.failed {
            // A lone alert, where there is one; in TLS 1.3 it may be sealed.
            assert!(answer.is_empty() || [21, 22, 23].contains(&answer[0]), "{answer:?}");
            assert_eq!(
                self.tls.write(b"news").map_err(|e| e.kind()),
                Err(io::ErrorKind::InvalidData)
            );
            assert!(self.tls.finish().is_empty());
        }
        self.answered += answer.len();
        answer
    }

    fn outcome(&self) -> (&[u8], usize, bool, bool) {
        (&self.input, self.answered, self.failed, self.tls.is_over())
    }

    /// Whether it works, with so much damage at one byte of what the client sends.
    fn shake_hands(
        &mut self,
        client: &mut ClientConnection,
        mut damage: Option<(usize, u8)>,
        pieces: &Pieces<'_>,
    ) -> bool {
        while client.is_handshaking() || client.wants_write() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).expect("a Vec takes everything");
            }
            if let Some((at, flip)) = damage
                && let Some(byte) = bytes.get_mut(at.wrapping_sub(self.came))
            {
                *byte ^= flip;
                damage = None;
            }
            let mut answer = Vec::new();
            for piece in pieces.cut(&bytes) {
                answer.extend(self.read(piece));
                if self.failed {
                    return false;
                }
            }
            if answer.is_empty() && client.is_handshaking() {
                self.tls.finish();
                return false; // both wait
            }
            let mut answer = &answer[..];
            while !answer.is_empty() {
                client.read_tls(&mut answer).expect("a slice can be read");
                if client.process_new_packets().is_err() {
                    return false;
                }
            }
        }
        true
    }

    fn expect_echo(&mut self, client: &mut ClientConnection) {
        io::Write::write_all(&mut client.writer(), b"ping").expect("room");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("a Vec takes everything");
        self.read(&bytes);
        assert_eq!(&self.input[..], b"ping");
        let mut answer = self.tls.write(b"pong").expect("a handshake was made");
        answer.extend(self.tls.finish());
        client.read_tls(&mut &answer[..]).expect("a slice can be read");
        let state = client.process_new_packets().expect("what the server sealed");
        assert!(state.plaintext_bytes_to_read() == 4 && state.peer_has_closed());
    }
}

fn client(configs: &Configs) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::clone(&configs.client), name).expect("a configuration")
}

/// What seals the client's records from now on.
fn sealer(client: ClientConnection) -> (u64, Box<dyn MessageEncrypter>) {
    let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else {
        panic!("TLS 1.3 was agreed");
    };
    let (seq, secrets) = client.dangerous_extract_secrets().expect("secrets").tx;
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
        panic!("AES is agreed first");
    };
    (seq, suite.aead_alg.encrypter(key, iv))
}

fn seal(sealer: &mut dyn MessageEncrypter, seq: u64, kind: u8, payload: &[u8]) -> Vec<u8> {
    let message = OutboundPlainMessage {
        typ: ContentType::from(kind),
        version: ProtocolVersion::TLSv1_2,
        payload: OutboundChunks::Single(&payload[..payload.len().min(16_384)]),
    };
    sealer.encrypt(message, seq).expect("a record").encode()
}

/// A server's configuration, and that of clients which trust it.
struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

static CONFIGS_13: LazyLock<Configs> = LazyLock::new(|| configs(&TLS13));
static CONFIGS_12: LazyLock<Configs> = LazyLock::new(|| configs(&TLS12));

fn configs(version: &'static SupportedProtocolVersion) -> Configs {
    // Ed25519, whose signatures are all of one length.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let names = vec!["localhost".to_owned()];
    let certificate =
        rcgen::CertificateParams::new(names).and_then(|params| params.self_signed(&key));
    let certificate = certificate.expect("a certificate").der().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a certificate and its key");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    client.enable_secret_extraction = true;
    Configs { server: Arc::new(server), client: Arc::new(client) }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let hello = |configs: &Configs| {
        let mut bytes = Vec::new();
        client(configs).write_tls(&mut bytes).expect("a Vec takes everything");
        bytes
    };
    let record = |payload: &[u8]| [&[22, 3, 1, 0, payload.len() as u8][..], payload].concat();
    let raw = [
        hello(&CONFIGS_13),
        hello(&CONFIGS_12),
        // Two hellos in one record, of which the first is none.
        record(&[1, 0, 0, 2, 0, 0, 1, 0, 0, 0]),
        [record(&[1, 0, 1, 0, 3, 3]), record(&[1, 2, 3])].concat(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    let mut seeds: Vec<Vec<u8>> = raw
        .iter()
        .flat_map(|raw| [0, 1].map(|version| seed(&[0, version, 0, 0, 0, 2, 5, 60], raw)))
        .collect();
    for (at, damage) in [(0, 0), (1, 0x80), (0, 1), (20, 1), (65, 4), (70, 1)] {
        seeds.push(seed(&[1, 0, at, 0, damage, 2, 100, 7], b""));
        seeds.push(seed(&[1, 1, at, 3, damage, 0], b""));
    }
    let lists: [&[&[u8]]; 5] = [
        &[b"\x17hello", b"\x17", b"\x17world"],
        &[b"\x17a", b"\x16\x18\0", b"\x16\0\x01\x01", b"\x17b"],
        &[b"\x16\x18\0\0\x01\0\x18\0\0\x01\x01", b"\x17b"],
        &[b"\x15\x01\0", b"\x17late"],
        &[b"\x16\x01\0\0\0", b"\x14\x01", b"\x63?"],
    ];
    seeds.extend(lists.map(|list| seed(&[2, 0, 0, 0, 0, 1, 9], &listed(list))));
    seeds
}
