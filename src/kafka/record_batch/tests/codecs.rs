//! Compressed batches: every codec and framing, damaged ones, and bombs.

use std::io::Write;

use super::*;

/// `payload` under each codec and framing that brokers store.
fn compressed_forms(payload: &[u8]) -> Vec<(i16, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(payload).unwrap();
    let mut forms = vec![
        (1, gzip.finish().unwrap()),
        (2, snap::raw::Encoder::new().compress_vec(payload).unwrap()),
        (2, xerial(payload)),
        (4, zstd::stream::encode_all(payload, 1).unwrap()),
    ];
    for mode in [
        lz4_flex::frame::BlockMode::Independent,
        lz4_flex::frame::BlockMode::Linked,
    ] {
        let info = lz4_flex::frame::FrameInfo::new()
            .block_mode(mode)
            .content_checksum(true);
        let info = info.block_size(lz4_flex::frame::BlockSize::Max64KB);
        let mut lz4 = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        lz4.write_all(payload).unwrap();
        forms.push((3, lz4.finish().unwrap()));
    }
    forms
}

fn xerial(payload: &[u8]) -> Vec<u8> {
    let mut framed = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for chunk in payload.chunks(32 * 1024) {
        let block = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
        framed.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
        framed.extend(block);
    }
    framed
}

#[test]
fn every_codec_and_framing_inflates_also_over_many_blocks() {
    let samples: Vec<_> = (0..3000)
        .map(|i| Sample::new(Some(&format!("key-{i}")), Some(&"ab cd".repeat(i % 50))))
        .collect();
    let batch = encoded(&samples);
    for (codec, payload) in compressed_forms(&batch[BATCH_OVERHEAD_BYTES..]) {
        let batch = one(&with_payload(&batch, codec, &payload));
        assert_eq!(
            decoded(&batch).as_ref(),
            Ok(&samples),
            "{}",
            batch.header.compression
        );
    }
}

#[test]
fn damaged_or_cut_compressed_records_are_errors() {
    let batch = encoded(&a_few());
    for (codec, payload) in compressed_forms(&batch[BATCH_OVERHEAD_BYTES..]) {
        for cut in 0..payload.len() {
            let (samples, error) = decoded_set(&with_payload(&batch, codec, &payload[..cut]));
            // Trailers (end mark, checksum) may be missing from frames whose blocks all came.
            assert!(
                error.is_some() || samples == a_few(),
                "codec {codec} cut at {cut}"
            );
            let mut damaged = payload.clone();
            damaged[cut] ^= 0xff;
            let _ = decoded_set(&with_payload(&batch, codec, &damaged));
        }
    }
}

#[test]
fn a_bomb_stops_at_the_cap() {
    let zeros = vec![0; BOMB_BYTES];
    let batch = encoded(&a_few());
    for (codec, payload) in compressed_forms(&zeros) {
        let batch = one(&with_payload(&batch, codec, &payload));
        let compression = batch.header.compression;
        let expected = DecodeError::InflatedTooLarge {
            compression,
            bytes_max: 100_000,
        };
        assert_eq!(batch.inflate(100_000), Err(expected));
        assert!(
            batch
                .inflate(BOMB_BYTES - 1)
                .unwrap_err()
                .to_string()
                .contains("inflates")
        );
        assert_eq!(
            batch.inflate(BOMB_BYTES).map(|inflated| inflated.len()),
            Ok(BOMB_BYTES)
        );
    }
}

#[test]
fn a_snappy_block_cannot_claim_more_than_the_format_can_hold() {
    let claims_a_gigabyte = [0x80, 0x80, 0x80, 0x80, 0x04, 0, 0];
    let batch = with_payload(&encoded(&a_few()), 2, &claims_a_gigabyte);
    let corrupt = DecodeError::CorruptCompression {
        compression: Compression::Snappy,
    };
    assert_eq!(one(&batch).inflate(usize::MAX), Err(corrupt));
}

const BOMB_BYTES: usize = 64 << 20;
