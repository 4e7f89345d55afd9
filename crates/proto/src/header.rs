//! The header of every request.

use std::time::Duration;

use xtfs_core::access::Identity;
use xtfs_core::{ClusterId, Error, GroupId, PROTOCOL_VERSION, RequestNumber, Result, SessionId};

use crate::v1;

/// On whose behalf a request is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub pid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `None`: the sender does not know its cluster yet.
    pub cluster: Option<ClusterId>,
    pub group: GroupId,
    pub session: SessionId,
    pub number: RequestNumber,
    pub lowest_unanswered: RequestNumber,
    pub caller: Caller,
    /// `None`: the server's own limit.
    pub deadline: Option<Duration>,
    /// It was answered, and a restarted server has lost it (P2).
    pub lost: bool,
}

impl Caller {
    pub const ROOT: Caller = Caller { uid: 0, gid: 0, groups: Vec::new(), pid: 0 };
}

impl From<Caller> for Identity {
    fn from(caller: Caller) -> Self {
        Identity { uid: caller.uid, gid: caller.gid, groups: caller.groups }
    }
}

impl Header {
    /// For a request outside any session, made by the daemon or tool itself.
    pub fn new(cluster: Option<ClusterId>) -> Self {
        Header {
            cluster,
            group: GroupId(0),
            session: SessionId(0),
            number: RequestNumber(0),
            lowest_unanswered: RequestNumber(0),
            caller: Caller::ROOT,
            deadline: None,
            lost: false,
        }
    }

    /// Refuses a request for another cluster.
    pub fn for_cluster(self, own: ClusterId) -> Result<Self> {
        match self.cluster {
            Some(cluster) if cluster == own => Ok(self),
            Some(other) => Err(Error::WrongCluster(format!(
                "the request is for cluster {other}, this is {own}; check the address"
            ))),
            None => {
                Err(Error::WrongCluster(format!("the request names no cluster, this is {own}")))
            }
        }
    }
}

/// Decodes the header of a request. Refuses another protocol version.
impl TryFrom<Option<v1::RequestHeader>> for Header {
    type Error = Error;

    fn try_from(wire: Option<v1::RequestHeader>) -> Result<Self> {
        let wire = wire.ok_or_else(|| Error::Invalid("the request has no header".into()))?;
        if wire.protocol != PROTOCOL_VERSION {
            let theirs = wire.protocol;
            return Err(Error::WrongProtocol(format!(
                "the request speaks version {theirs}, this server {PROTOCOL_VERSION}; \
                 install the same xtfs version on both sides"
            )));
        }
        let caller = wire.caller.unwrap_or_default();
        let deadline = Duration::from_millis(wire.deadline_ms.into());
        Ok(Header {
            cluster: match &wire.cluster[..] {
                [] => None,
                bytes => Some(ClusterId::from_wire(bytes)?),
            },
            group: GroupId(wire.group),
            session: SessionId(wire.session),
            number: RequestNumber(wire.number),
            lowest_unanswered: RequestNumber(wire.lowest_unanswered),
            caller: Caller {
                uid: caller.uid,
                gid: caller.gid,
                groups: caller.groups,
                pid: caller.pid,
            },
            deadline: (!deadline.is_zero()).then_some(deadline),
            lost: wire.lost,
        })
    }
}

impl From<Header> for v1::RequestHeader {
    fn from(header: Header) -> Self {
        let caller = header.caller;
        let deadline = header.deadline.map_or(0, |left| left.as_millis().max(1));
        v1::RequestHeader {
            lost: header.lost,
            protocol: PROTOCOL_VERSION,
            cluster: header.cluster.map(ClusterId::to_wire).unwrap_or_default().into(),
            group: header.group.0,
            session: header.session.0,
            number: header.number.0,
            lowest_unanswered: header.lowest_unanswered.0,
            caller: Some(v1::Caller {
                uid: caller.uid,
                gid: caller.gid,
                groups: caller.groups,
                pid: caller.pid,
            }),
            deadline_ms: u32::try_from(deadline).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            cluster: Some(ClusterId::generate()),
            group: GroupId(1),
            session: SessionId(2),
            number: RequestNumber(3),
            lowest_unanswered: RequestNumber(2),
            caller: Caller { uid: 4, gid: 5, groups: vec![6, 7], pid: 8 },
            lost: true,
            deadline: Some(Duration::from_millis(30)),
        }
    }

    #[test]
    fn a_header_survives_the_wire() {
        for header in [header(), Header::new(None)] {
            let wire = v1::RequestHeader::from(header.clone());
            assert_eq!(Header::try_from(Some(wire)), Ok(header));
        }
    }

    #[test]
    fn another_protocol_version_is_refused() {
        let wire = v1::RequestHeader { protocol: PROTOCOL_VERSION + 1, ..header().into() };
        assert!(matches!(Header::try_from(Some(wire)), Err(Error::WrongProtocol(_))));
        assert!(matches!(Header::try_from(None), Err(Error::Invalid(_))));
    }

    #[test]
    fn another_cluster_is_refused() {
        let own = header().cluster.unwrap();
        assert!(Header::new(Some(own)).for_cluster(own).is_ok());
        for other in [None, Some(ClusterId::generate())] {
            let refused = Header::new(other).for_cluster(own);
            assert!(matches!(refused, Err(Error::WrongCluster(_))));
        }
    }
}
