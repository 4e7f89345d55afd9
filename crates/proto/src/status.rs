//! [`Error`] on the wire. The only place that knows both vocabularies.

use prost::Message;
use tonic::{Code, Status};
use xtfs_core::{Error, FileEpoch, SetEpoch};

use crate::v1::{ErrorCode, ErrorDetail};

/// As gRPC carries it. The exact variant is in the details.
pub fn to_status(err: Error) -> Status {
    let code = grpc_code(&err);
    let detail = error_detail(err);
    let details = detail.encode_to_vec().into();
    Status::with_details(code, detail.text, details)
}

/// Without our details the answer is from the transport: a broken connection, a deadline.
pub fn from_status(status: &Status) -> Error {
    match ErrorDetail::decode(status.details()) {
        Ok(detail) if detail.code() != ErrorCode::Unspecified => from_detail(detail),
        _ if status.code() == Code::Unimplemented => Error::WrongProtocol(format!(
            "the server does not know the request: {}",
            status.message()
        )),
        _ if status.code() == Code::DeadlineExceeded => Error::Deadline(status.message().into()),
        _ => Error::Unavailable(status.message().into()),
    }
}

pub fn error_detail(err: Error) -> ErrorDetail {
    let mut detail = ErrorDetail { text: err.to_string(), ..Default::default() };
    let code = match err {
        Error::NotFound => ErrorCode::NotFound,
        Error::Exists => ErrorCode::Exists,
        Error::NotADirectory => ErrorCode::NotADirectory,
        Error::IsADirectory => ErrorCode::IsADirectory,
        Error::NotEmpty => ErrorCode::NotEmpty,
        Error::AccessDenied => ErrorCode::AccessDenied,
        Error::NotPermitted => ErrorCode::NotPermitted,
        Error::NameTooLong => ErrorCode::NameTooLong,
        Error::TooManyLinks => ErrorCode::TooManyLinks,
        Error::FileTooLarge => ErrorCode::FileTooLarge,
        Error::CrossDevice => ErrorCode::CrossDevice,
        Error::StaleHandle => ErrorCode::StaleHandle,
        Error::NoAttribute => ErrorCode::NoAttribute,
        Error::ReadOnly => ErrorCode::ReadOnly,
        Error::Range => ErrorCode::Range,
        Error::Locked => ErrorCode::Locked,
        Error::Deadlock => ErrorCode::Deadlock,
        Error::TooManyLocks => ErrorCode::TooManyLocks,
        Error::ValueTooLong => ErrorCode::ValueTooLong,
        Error::CapabilityExpired => ErrorCode::CapabilityExpired,
        Error::StaleConnection => ErrorCode::StaleConnection,
        Error::SessionLost => ErrorCode::SessionLost,
        Error::UnknownSet => ErrorCode::UnknownSet,
        Error::NotLeader { leader } => {
            detail.leader = leader.unwrap_or_default();
            ErrorCode::NotLeader
        }
        Error::StaleSetEpoch { current } => {
            detail.current = current.0;
            ErrorCode::StaleSetEpoch
        }
        Error::StaleFileEpoch { current } => {
            detail.current = current.0;
            ErrorCode::StaleFileEpoch
        }
        Error::NoSpace(text) => with_text(&mut detail, text, ErrorCode::NoSpace),
        Error::NotSupported(text) => with_text(&mut detail, text, ErrorCode::NotSupported),
        Error::Invalid(text) => with_text(&mut detail, text, ErrorCode::Invalid),
        Error::Busy(text) => with_text(&mut detail, text, ErrorCode::Busy),
        Error::Unavailable(text) => with_text(&mut detail, text, ErrorCode::Unavailable),
        Error::Overloaded(text) => with_text(&mut detail, text, ErrorCode::Overloaded),
        Error::Deadline(text) => with_text(&mut detail, text, ErrorCode::Deadline),
        Error::Forbidden(text) => with_text(&mut detail, text, ErrorCode::Forbidden),
        Error::WrongCluster(text) => with_text(&mut detail, text, ErrorCode::WrongCluster),
        Error::WrongProtocol(text) => with_text(&mut detail, text, ErrorCode::WrongProtocol),
        Error::Corrupt(text) => with_text(&mut detail, text, ErrorCode::Corrupt),
        Error::Internal(text) => with_text(&mut detail, text, ErrorCode::Internal),
    };
    detail.set_code(code);
    detail
}

pub fn from_detail(detail: ErrorDetail) -> Error {
    let code = detail.code();
    let ErrorDetail { text, current, leader, .. } = detail;
    match code {
        ErrorCode::Unspecified => Error::Internal(text),
        ErrorCode::NotFound => Error::NotFound,
        ErrorCode::Exists => Error::Exists,
        ErrorCode::NotADirectory => Error::NotADirectory,
        ErrorCode::IsADirectory => Error::IsADirectory,
        ErrorCode::NotEmpty => Error::NotEmpty,
        ErrorCode::AccessDenied => Error::AccessDenied,
        ErrorCode::NotPermitted => Error::NotPermitted,
        ErrorCode::NoSpace => Error::NoSpace(text),
        ErrorCode::NameTooLong => Error::NameTooLong,
        ErrorCode::TooManyLinks => Error::TooManyLinks,
        ErrorCode::FileTooLarge => Error::FileTooLarge,
        ErrorCode::CrossDevice => Error::CrossDevice,
        ErrorCode::StaleHandle => Error::StaleHandle,
        ErrorCode::NoAttribute => Error::NoAttribute,
        ErrorCode::NotSupported => Error::NotSupported(text),
        ErrorCode::ReadOnly => Error::ReadOnly,
        ErrorCode::Invalid => Error::Invalid(text),
        ErrorCode::Busy => Error::Busy(text),
        ErrorCode::Range => Error::Range,
        ErrorCode::Locked => Error::Locked,
        ErrorCode::Deadlock => Error::Deadlock,
        ErrorCode::TooManyLocks => Error::TooManyLocks,
        ErrorCode::ValueTooLong => Error::ValueTooLong,
        ErrorCode::Unavailable => Error::Unavailable(text),
        ErrorCode::Overloaded => Error::Overloaded(text),
        ErrorCode::NotLeader => Error::NotLeader { leader: (!leader.is_empty()).then_some(leader) },
        ErrorCode::StaleSetEpoch => Error::StaleSetEpoch { current: SetEpoch(current) },
        ErrorCode::StaleFileEpoch => Error::StaleFileEpoch { current: FileEpoch(current) },
        ErrorCode::CapabilityExpired => Error::CapabilityExpired,
        ErrorCode::StaleConnection => Error::StaleConnection,
        ErrorCode::SessionLost => Error::SessionLost,
        ErrorCode::Deadline => Error::Deadline(text),
        ErrorCode::UnknownSet => Error::UnknownSet,
        ErrorCode::Forbidden => Error::Forbidden(text),
        ErrorCode::WrongCluster => Error::WrongCluster(text),
        ErrorCode::WrongProtocol => Error::WrongProtocol(text),
        ErrorCode::Corrupt => Error::Corrupt(text),
        ErrorCode::Internal => Error::Internal(text),
    }
}

/// The text of the variant alone: its `Display` would be wrapped once more at the other end.
fn with_text(detail: &mut ErrorDetail, text: String, code: ErrorCode) -> ErrorCode {
    detail.text = text;
    code
}

/// What gRPC tools and proxies that know nothing of xtfs see.
fn grpc_code(err: &Error) -> Code {
    match err {
        Error::NotFound | Error::NoAttribute => Code::NotFound,
        Error::Exists => Code::AlreadyExists,
        Error::AccessDenied | Error::NotPermitted | Error::Forbidden(_) => Code::PermissionDenied,
        Error::NoSpace(_) | Error::Overloaded(_) | Error::TooManyLocks => Code::ResourceExhausted,
        Error::NameTooLong | Error::Invalid(_) => Code::InvalidArgument,
        Error::FileTooLarge | Error::Range | Error::ValueTooLong => Code::OutOfRange,
        Error::NotSupported(_) => Code::Unimplemented,
        Error::Unavailable(_) | Error::NotLeader { .. } => Code::Unavailable,
        Error::Deadline(_) => Code::DeadlineExceeded,
        Error::Corrupt(_) => Code::DataLoss,
        Error::Internal(_) => Code::Internal,
        Error::StaleSetEpoch { .. }
        | Error::StaleFileEpoch { .. }
        | Error::CapabilityExpired
        | Error::StaleConnection
        | Error::SessionLost
        | Error::Locked
        | Error::Deadlock
        | Error::UnknownSet => Code::Aborted,
        Error::NotADirectory
        | Error::IsADirectory
        | Error::NotEmpty
        | Error::TooManyLinks
        | Error::CrossDevice
        | Error::StaleHandle
        | Error::ReadOnly
        | Error::Busy(_)
        | Error::WrongCluster(_)
        | Error::WrongProtocol(_) => Code::FailedPrecondition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Error> {
        let text = || "why".to_owned();
        vec![
            Error::NotFound,
            Error::Exists,
            Error::NotADirectory,
            Error::IsADirectory,
            Error::NotEmpty,
            Error::AccessDenied,
            Error::NotPermitted,
            Error::NoSpace(text()),
            Error::NameTooLong,
            Error::TooManyLinks,
            Error::FileTooLarge,
            Error::CrossDevice,
            Error::StaleHandle,
            Error::NoAttribute,
            Error::NotSupported(text()),
            Error::ReadOnly,
            Error::Invalid(text()),
            Error::Busy(text()),
            Error::Range,
            Error::Locked,
            Error::Deadlock,
            Error::TooManyLocks,
            Error::ValueTooLong,
            Error::Unavailable(text()),
            Error::Overloaded(text()),
            Error::NotLeader { leader: None },
            Error::NotLeader { leader: Some("a:1".into()) },
            Error::StaleSetEpoch { current: SetEpoch(4) },
            Error::StaleFileEpoch { current: FileEpoch(5) },
            Error::CapabilityExpired,
            Error::StaleConnection,
            Error::SessionLost,
            Error::Deadline(text()),
            Error::UnknownSet,
            Error::Forbidden(text()),
            Error::WrongCluster(text()),
            Error::WrongProtocol(text()),
            Error::Corrupt(text()),
            Error::Internal(text()),
        ]
    }

    #[test]
    fn every_error_survives_the_wire() {
        for err in all() {
            assert_eq!(from_status(&to_status(err.clone())), err);
        }
    }

    #[test]
    fn a_broken_connection_may_be_tried_again() {
        assert!(from_status(&Status::unavailable("connection refused")).is_retryable());
        assert!(!from_status(&Status::unimplemented("what?")).is_retryable());
    }
}
