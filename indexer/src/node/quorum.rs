//! What is believed only when several endpoints say it.

use std::sync::atomic::Ordering;

use alloy::primitives::B256;
use futures::{StreamExt, stream::FuturesUnordered};

use super::{Error, Header, Node};

/// How many endpoints say the same of each of so many things: the one that was asked first, and of `others` those that answer the same as it. Nobody
/// is waited for once enough do, or too few are left.
pub(super) fn agreeing<F: Future<Output = Vec<bool>>>(
    quorum: usize,
    things: usize,
    others: impl Iterator<Item = F>,
) -> impl Future<Output = Vec<usize>> {
    let mut others: FuturesUnordered<F> = others.collect();
    async move {
        let mut have = vec![1; things];
        let is_open =
            |have: &[usize], left| have.iter().any(|have| *have < quorum) && have.iter().all(|have| *have + left >= quorum);
        while is_open(&have, others.len())
            && let Some(same) = others.next().await
        {
            have.iter_mut().zip(same).for_each(|(have, same)| *have += usize::from(same));
        }
        have
    }
}

impl Node {
    /// Whether enough endpoints have these blocks, each following the one before it. The one that announced them counts as one. What is proved
    /// names its ancestors, so the last is asked for; what is told only is asked for block by block, and all of it must be the same.
    pub(super) async fn agreed(&self, headers: &[Header], announced_by: usize) -> Result<(), Error> {
        let (Some(last), true) = (headers.last(), self.quorum > 1) else { return Ok(()) };
        let headers = if self.trusting { headers } else { std::slice::from_ref(last) };
        let others = self.others(announced_by).map(|index| async move {
            let ask = headers.iter().map(|header| (header.hash(), false));
            let theirs = self.rpcs[index].batch::<_, Option<Header>>("eth_getBlockByHash", ask).await.unwrap_or_default();
            headers.iter().zip(theirs).map(|(header, theirs)| theirs.as_ref() == Some(header)).collect()
        });
        let have = agreeing(self.quorum, headers.len(), others).await;
        self.enough(headers, &have)
    }

    /// Whether enough endpoints tell the same of each block.
    pub(super) fn enough<'a>(&self, headers: impl IntoIterator<Item = &'a Header>, have: &[usize]) -> Result<(), Error> {
        match headers.into_iter().zip(have).find(|(_, have)| **have < self.quorum) {
            Some((header, have)) => Err(Error::NoQuorum { block: header.number(), have: *have, need: self.quorum }),
            None => Ok(()),
        }
    }

    pub(super) fn others(&self, than: usize) -> impl Iterator<Item = usize> {
        (0..self.rpcs.len()).filter(move |index| *index != than)
    }

    /// Whether a block that the endpoint in use no longer has is the chain's no more: as many endpoints as must have a block say that they do not have
    /// it, and fewer that they do. Otherwise another endpoint is asked from now on.
    pub(crate) async fn is_gone(&self, hash: B256) -> bool {
        let asked = self.current.load(Ordering::Relaxed);
        let mut answers: FuturesUnordered<_> = self.rpcs.iter().map(|rpc| self.find_at(rpc, hash)).collect();
        let (mut have, mut lack) = (0, 0);
        while have < self.quorum
            && let Some(answer) = answers.next().await
        {
            match answer {
                Ok(Some(_)) => have += 1,
                Ok(None) => lack += 1,
                Err(_) => {}
            }
        }
        let is_gone = have < self.quorum && lack >= self.quorum;
        if !is_gone {
            self.fail_over(asked, &Error::Missing(format!("block {hash}")));
        }
        is_gone
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::BoxFuture};

    use super::*;

    /// What is counted without waiting, if anything is; an endpoint without an answer never answers.
    fn counted(quorum: usize, things: usize, others: &[Option<&[bool]>]) -> Option<Vec<usize>> {
        let answer = |same: &Option<&[bool]>| -> BoxFuture<'static, Vec<bool>> {
            let same = same.map(<[bool]>::to_vec);
            async move {
                match same {
                    Some(same) => same,
                    None => std::future::pending().await,
                }
            }
            .boxed()
        };
        agreeing(quorum, things, others.iter().map(answer)).now_or_never()
    }

    #[test]
    fn an_endpoint_that_never_answers_is_not_waited_for_once_enough_agree_or_too_few_are_left() {
        assert_eq!(counted(2, 1, &[None, Some(&[true])]), Some(vec![2]));
        assert_eq!(counted(3, 1, &[None, Some(&[false])]), Some(vec![1]));
        assert_eq!(counted(2, 1, &[None, Some(&[false])]), None, "it may agree yet");
        assert_eq!(counted(1, 1, &[None]), Some(vec![1]));
    }

    #[test]
    fn each_of_several_things_needs_enough_whoever_they_are() {
        assert_eq!(counted(2, 2, &[Some(&[true, false]), Some(&[false, true])]), Some(vec![2, 2]));
        assert_eq!(counted(2, 2, &[Some(&[true, false]), None]), None);
        assert_eq!(counted(2, 2, &[Some(&[true]), Some(&[])]), Some(vec![2, 1]), "what is not answered is not agreed to");
    }
}
