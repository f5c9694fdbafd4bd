//! JKS, Java's key store format before PKCS #12: big-endian, sealed with a keyed SHA-1, keys masked with a stream of SHA-1.
//!
//! Both are as weak as they sound; the file's own permissions are what protects it. Its one rule: no length in it is believed before the bytes are there.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::asn1_rs::{FromDer, OctetString, Sequence};
use x509_parser::x509::AlgorithmIdentifier;

use super::certificates::Certificate;
use super::{KeyEntry, Store, StoreFault, StoreKind, TrustEntry};

const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const SHA1_BYTES: usize = 20;
/// What Java mixes into the seal.
const SEAL_SALT: &[u8] = b"Mighty Aphrodite";
/// Sun's key protector.
const PROTECTION: &str = "1.3.6.1.4.1.42.2.17.1.1";
const MALFORMED: StoreFault = StoreFault::Malformed(StoreKind::Jks);

/// Whether a file starts as a JKS store.
pub(super) fn is_jks(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

pub(super) fn open(bytes: &[u8], password: Option<&str>) -> Result<Store, StoreFault> {
    let (content, seal) = bytes.split_last_chunk::<SHA1_BYTES>().ok_or(MALFORMED)?;
    let password = password.map(utf16);
    if let Some(password) = &password {
        let expected = sha1(&[password, SEAL_SALT, content]);
        verify_slices_are_equal(expected.as_ref(), seal).map_err(|_| StoreFault::WrongPassword)?;
    }
    let mut reader = Reader {
        rest: &content[MAGIC.len().min(content.len())..],
    };
    let version = reader.u32()?;
    if !matches!(version, 1 | 2) {
        return Err(MALFORMED);
    }
    let mut store = Store::default();
    for _ in 0..reader.u32()? {
        let tag = reader.u32()?;
        let alias = reader.text()?.to_lowercase();
        // When it was made.
        reader.take(8)?;
        match tag {
            1 => {
                let key = reader.block()?;
                let mut chain = Vec::new();
                for _ in 0..reader.u32()? {
                    chain.push(reader.certificate(version)?);
                }
                let password = password.as_deref().ok_or(StoreFault::NoPassword)?;
                store.keys.push(key_entry(alias, key, chain, password)?);
            }
            2 => store.trust.push(TrustEntry {
                alias,
                certificate: reader.certificate(version)?,
            }),
            _ => return Err(MALFORMED),
        }
    }
    Ok(store)
}

fn key_entry(
    alias: String,
    protected: &[u8],
    chain: Vec<CertificateDer<'static>>,
    password: &[u8],
) -> Result<KeyEntry, StoreFault> {
    if chain.is_empty() {
        return Err(StoreFault::NoCertificate { alias });
    }
    let (_, sequence) = Sequence::from_der(protected).map_err(|_| MALFORMED)?;
    let (rest, algorithm) =
        AlgorithmIdentifier::from_der(&sequence.content).map_err(|_| MALFORMED)?;
    if algorithm.algorithm.to_id_string() != PROTECTION {
        return Err(StoreFault::UnknownProtection);
    }
    let (_, masked) = OctetString::from_der(rest).map_err(|_| MALFORMED)?;
    let key = unmask(masked.as_ref(), password)?;
    Ok(KeyEntry {
        alias,
        key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key)),
        chain,
    })
}

/// Salt, masked key, check. The mask starts as the hash of password and salt, and goes on as that of password and mask.
fn unmask(masked: &[u8], password: &[u8]) -> Result<Vec<u8>, StoreFault> {
    let (salt, rest) = masked.split_first_chunk::<SHA1_BYTES>().ok_or(MALFORMED)?;
    let (body, check) = rest.split_last_chunk::<SHA1_BYTES>().ok_or(MALFORMED)?;
    let mut key = body.to_vec();
    let mut mask = sha1(&[password, salt]);
    for block in key.chunks_mut(SHA1_BYTES) {
        for (byte, mask) in block.iter_mut().zip(mask.as_ref()) {
            *byte ^= mask;
        }
        mask = sha1(&[password, mask.as_ref()]);
    }
    verify_slices_are_equal(sha1(&[password, &key]).as_ref(), check)
        .map_err(|_| StoreFault::WrongPassword)?;
    Ok(key)
}

fn sha1(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    context.finish()
}

/// Java's characters, high byte first.
fn utf16(password: &str) -> Vec<u8> {
    password.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], StoreFault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(MALFORMED)?;
        self.rest = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, StoreFault> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(MALFORMED)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*taken))
    }

    /// Bytes after their number.
    fn block(&mut self) -> Result<&'b [u8], StoreFault> {
        let count = self.u32()?;
        self.take(usize::try_from(count).map_err(|_| MALFORMED)?)
    }

    /// Text after its number of bytes.
    fn text(&mut self) -> Result<String, StoreFault> {
        let (count, rest) = self.rest.split_first_chunk().ok_or(MALFORMED)?;
        self.rest = rest;
        let text = self.take(usize::from(u16::from_be_bytes(*count)))?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// A certificate; since version 2 its type stands before it.
    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, StoreFault> {
        if version == 2 && self.text()? != "X.509" {
            return Err(StoreFault::BadCertificate);
        }
        Ok(Certificate::parse(self.block()?.to_vec())?.der)
    }
}
