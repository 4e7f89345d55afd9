//! `Io` without tonic's codec: the same bytes on the wire, but payloads are passed by reference.
//!
//! A reply is a small frame with its head and a frame that is its payload; replies without a payload
//! to speak of are gathered in one frame. A request is decoded from the frames as they came.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::BodyExt as _;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::mpsc;
use tonic::body::Body;
use xtfs_core::{Error, Result};
use xtfs_proto::v1;
use xtfs_rpc::MESSAGE_BYTES_MAX;

use crate::io::Outgoing;

/// A byte for compression, and the length of the message.
const PREFIX_LEN: usize = 5;
/// Payloads up to here are copied into the frame of their head.
const COPIED_MAX: usize = 16 << 10;
/// Bytes of one frame of gathered replies.
const GATHERED_MAX: usize = 64 << 10;
/// Of `IoReply.data`, which is encoded after all other fields.
const DATA_TAG: u32 = 15;

/// Messages of a client, from the frames of its body.
#[derive(Debug)]
pub(crate) struct Requests {
    body: Body,
    received: Chunks,
}

/// Bytes in the pieces that they came in.
#[derive(Debug, Default)]
struct Chunks {
    pieces: VecDeque<Bytes>,
    len: usize,
}

/// The body of the answer. It ends when all senders are gone.
#[derive(Debug)]
pub(crate) struct Replies {
    queue: mpsc::Receiver<Outgoing>,
    /// Its head was sent, its payload was not.
    half_sent: Option<Outgoing>,
    ended: bool,
}

impl Requests {
    pub(crate) fn new(body: Body) -> Self {
        Requests { body, received: Chunks::default() }
    }

    /// `None`: the client has ended. May be dropped while it waits, and called again.
    pub(crate) async fn message(&mut self) -> Result<Option<v1::IoRequest>> {
        loop {
            if let Some(message) = self.received.take_message()? {
                return Ok(Some(message));
            }
            let broken = |why: &dyn std::fmt::Display| Error::Unavailable(format!("stream: {why}"));
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.received.push(data);
                    }
                }
                Some(Err(status)) => return Err(broken(&status)),
                None if self.received.len == 0 => return Ok(None),
                None => return Err(broken(&"it ended within a message")),
            }
        }
    }
}

impl Chunks {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// The first message, once it is complete.
    fn take_message(&mut self) -> Result<Option<v1::IoRequest>> {
        let Some([compressed, length @ ..]) = self.peek() else { return Ok(None) };
        if compressed != 0 {
            return Err(Error::NotSupported("compressed messages".into()));
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(Error::Invalid(format!("a message of {length} bytes")));
        }
        if self.len < PREFIX_LEN + length {
            return Ok(None);
        }
        self.advance(PREFIX_LEN);
        let mut message = Buf::take(&mut *self, length);
        let decoded = v1::IoRequest::decode(&mut message);
        decoded.map(Some).map_err(|err| Error::Invalid(format!("message: {err}")))
    }

    /// The prefix, if all of it is here.
    fn peek(&self) -> Option<[u8; PREFIX_LEN]> {
        let mut prefix = [0; PREFIX_LEN];
        let mut bytes = self.pieces.iter().flat_map(|piece| piece.iter());
        for byte in &mut prefix {
            *byte = *bytes.next()?;
        }
        Some(prefix)
    }
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece[..])
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "more than there is");
        self.len -= count;
        while let Some(front) = self.pieces.front_mut()
            && count > 0
        {
            let step = count.min(front.len());
            front.advance(step);
            count -= step;
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    /// Without a copy if it lies in one piece.
    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        assert!(len <= self.len, "more than there is");
        let bytes = match self.pieces.front() {
            Some(front) if front.len() >= len => front.slice(..len),
            _ => {
                let mut copy = BytesMut::with_capacity(len);
                let mut left = len;
                for piece in &self.pieces {
                    let part = left.min(piece.len());
                    copy.put_slice(&piece[..part]);
                    left -= part;
                }
                copy.freeze()
            }
        };
        self.advance(len);
        bytes
    }
}

impl Replies {
    pub(crate) fn new(queue: mpsc::Receiver<Outgoing>) -> Self {
        Replies { queue, half_sent: None, ended: false }
    }

    /// As the body of an HTTP answer.
    pub(crate) fn into_response(self) -> http::Response<Body> {
        let mut response = http::Response::new(Body::new(self));
        let kind = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        response
    }

    /// Appends what is ready, until a payload is to follow by itself.
    fn gather(&mut self, first: Outgoing, cx: &mut Context<'_>) -> Bytes {
        let mut frame = BytesMut::new();
        let mut next = first;
        loop {
            encode_head(&next.reply, &mut frame);
            if next.reply.data.len() > COPIED_MAX {
                self.half_sent = Some(next);
                break;
            }
            frame.put_slice(&next.reply.data);
            if frame.len() >= GATHERED_MAX {
                break;
            }
            match self.queue.poll_recv(cx) {
                Poll::Ready(Some(another)) => next = another,
                // Asked again with the next frame.
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        frame.freeze()
    }
}

impl http_body::Body for Replies {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(sent) = self.half_sent.take() {
            return Poll::Ready(Some(Ok(Frame::data(sent.reply.data))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.queue.poll_recv(cx)) {
            Some(first) => {
                let frame = self.gather(first, cx);
                Poll::Ready(Some(Ok(Frame::data(frame))))
            }
            None => {
                self.ended = true;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }
}

/// Everything of a message but the bytes of its payload, which follow.
fn encode_head(reply: &v1::IoReply, out: &mut BytesMut) {
    let payload = reply.data.len();
    // Cheap: the payload is only referred to.
    let head = v1::IoReply { data: Bytes::new(), ..reply.clone() };
    let start = out.len();
    out.put_bytes(0, PREFIX_LEN);
    head.encode(out).expect("a growing buffer has room");
    if payload > 0 {
        encode_key(DATA_TAG, WireType::LengthDelimited, out);
        encode_varint(payload as u64, out);
    }
    let length = u32::try_from(out.len() - start - PREFIX_LEN + payload);
    let length = length.expect("replies are far below 4 GiB");
    out[start + 1..start + PREFIX_LEN].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(request: &v1::IoRequest) -> Vec<u8> {
        let body = request.encode_to_vec();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[0][..], &length, &body].concat()
    }

    fn request(len: usize) -> v1::IoRequest {
        let data = (0..len).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>().into();
        v1::IoRequest { id: 7, offset: 9, block_sums: vec![1, 2, 3], data, ..Default::default() }
    }

    #[test]
    fn requests_are_found_however_the_frames_are_cut() {
        let requests = [request(0), request(10_000), request(1)];
        let wire: Vec<u8> = requests.iter().flat_map(framed).collect();
        for cut in [1, 3, 5, 6, 4096, 10_000, wire.len()] {
            let mut chunks = Chunks::default();
            let mut found = Vec::new();
            for piece in wire.chunks(cut) {
                chunks.push(Bytes::copy_from_slice(piece));
                while let Some(message) = chunks.take_message().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, requests, "cut at {cut}");
            assert_eq!(chunks.len, 0);
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for wire in [&[1, 0, 0, 0, 0][..], &[0, 255, 255, 255, 255], &[0, 0, 0, 0, 1, 255]] {
            let mut chunks = Chunks::default();
            chunks.push(Bytes::copy_from_slice(wire));
            assert!(chunks.take_message().is_err(), "{wire:?}");
        }
    }

    #[tokio::test]
    async fn replies_are_what_a_protobuf_encoder_makes() {
        let lengths = [0, 100, COPIED_MAX, COPIED_MAX + 1, 1 << 20, 3];
        let reply = |len| v1::IoReply {
            id: 5,
            column_length: 6,
            extents: vec![v1::Extent { offset: 0, length: 4096 }],
            data: vec![8; len].into(),
            ..Default::default()
        };
        let (sender, queue) = mpsc::channel(lengths.len());
        let mut expected = Vec::new();
        for len in lengths {
            let body = reply(len).encode_to_vec();
            expected.push(0);
            expected.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
            expected.extend(body);
            sender.send(Outgoing::new(reply(len))).await.unwrap();
        }
        drop(sender);
        let body = Replies::new(queue).collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), expected);
    }
}
