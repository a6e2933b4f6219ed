use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, Bytes, Signature};

use crate::agent_wallet::IAgentWallet;

const BY_KEY: u8 = 0;
const BY_TRANSACTION: u8 = 1;
const BY_CONTRACT: u8 = 2;

/// Approvals of one digest, collected in any order: of an order or a change of a Treasury, or of a payment of an AgentWallet.
///
/// Who is asked twice counts once, with the later answer. Whether those who approved may is for the contract to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvals {
    digest: B256,
    given: BTreeMap<Address, Approval>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Approval {
    Key(Signature),
    Transaction,
    Contract(Bytes),
}

/// Why an approval cannot be taken or given to the chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// No key makes it.
    #[error("this is no signature of {0}: sign the digest itself, without a prefix")]
    NoSignature(B256),
    /// The signer is another than was said; usually something else was signed.
    #[error("{actual} signed, not {expected}: check that {expected} signed {digest} and nothing else")]
    WrongSigner {
        /// What was to be signed.
        digest: B256,
        /// Who was to sign it.
        expected: Address,
        /// Who did, if it was this digest.
        actual: Address,
    },
    /// A Treasury reads the length from two bytes.
    #[error("the signature of {owner} has {bytes} bytes, at most 65535 fit")]
    TooLong {
        /// The owner.
        owner: Address,
        /// How long its signature is.
        bytes: usize,
    },
    /// A wallet keeps no approvals.
    #[error("{0} approved by transaction, which an agent wallet does not know: it must sign")]
    NotSigned(Address),
    /// Not what [`Approvals::for_treasury`] makes.
    #[error("the approvals are malformed at byte {0}")]
    Malformed(usize),
}

impl Approvals {
    /// None yet, of the message with this digest.
    pub const fn of(digest: B256) -> Self {
        Self { digest, given: BTreeMap::new() }
    }

    /// What is approved.
    pub const fn digest(&self) -> B256 {
        self.digest
    }

    /// Who approved, ascending.
    pub fn signers(&self) -> impl ExactSizeIterator<Item = Address> + '_ {
        self.given.keys().copied()
    }

    /// Adds a key's signature and says whose it is. A signature of something else seems to be of somebody unknown.
    ///
    /// # Errors
    /// [`ApprovalError::NoSignature`] when no key makes it.
    pub fn add(&mut self, signature: Signature) -> Result<Address, ApprovalError> {
        // Contracts refuse the upper half of `s`, where every signature has a twin.
        let signature = signature.normalized_s();
        let signer = signature.recover_address_from_prehash(&self.digest).map_err(|_| ApprovalError::NoSignature(self.digest))?;
        self.given.insert(signer, Approval::Key(signature));
        Ok(signer)
    }

    /// Adds the signature of a key that is known.
    ///
    /// # Errors
    /// [`ApprovalError::WrongSigner`] when somebody else, or something else, was signed.
    pub fn add_from(&mut self, expected: Address, signature: Signature) -> Result<(), ApprovalError> {
        let mut with = self.clone();
        let actual = with.add(signature)?;
        if actual != expected {
            return Err(ApprovalError::WrongSigner { digest: self.digest, expected, actual });
        }
        *self = with;
        Ok(())
    }

    /// Adds an owner who approved by the transaction `approve`. Only a Treasury knows such.
    pub fn add_transaction(&mut self, owner: Address) {
        self.given.insert(owner, Approval::Transaction);
    }

    /// Adds the EIP-1271 signature of a contract; for a Treasury or an AgentWallet see [`nested`](super::nested).
    ///
    /// # Errors
    /// [`ApprovalError::TooLong`].
    pub fn add_contract(&mut self, owner: Address, signature: Bytes) -> Result<(), ApprovalError> {
        if u16::try_from(signature.len()).is_err() {
            return Err(ApprovalError::TooLong { owner, bytes: signature.len() });
        }
        self.given.insert(owner, Approval::Contract(signature));
        Ok(())
    }

    /// As a Treasury takes them: one after the other in ascending order of owners, each `00 ‖ r ‖ s ‖ v`, `01 ‖ owner` or
    /// `02 ‖ owner ‖ length (2) ‖ signature`.
    pub fn for_treasury(&self) -> Bytes {
        let mut bytes = Vec::new();
        for (owner, approval) in &self.given {
            match approval {
                Approval::Key(signature) => {
                    bytes.push(BY_KEY);
                    bytes.extend(signature.as_bytes());
                }
                Approval::Transaction => {
                    bytes.push(BY_TRANSACTION);
                    bytes.extend(owner);
                }
                Approval::Contract(signature) => {
                    bytes.push(BY_CONTRACT);
                    bytes.extend(owner);
                    bytes.extend(u16::try_from(signature.len()).expect("checked when it was added").to_be_bytes());
                    bytes.extend(signature);
                }
            }
        }
        bytes.into()
    }

    /// As an AgentWallet takes them: ascending by signer.
    ///
    /// # Errors
    /// [`ApprovalError::NotSigned`] when somebody approved by transaction.
    pub fn for_wallet(&self) -> Result<Vec<IAgentWallet::Approval>, ApprovalError> {
        let given = self.given.iter().map(|(&signer, approval)| {
            let signature = match approval {
                Approval::Key(signature) => Bytes::from(signature.as_bytes()),
                Approval::Transaction => return Err(ApprovalError::NotSigned(signer)),
                Approval::Contract(signature) => signature.clone(),
            };
            Ok(IAgentWallet::Approval { signer, signature })
        });
        given.collect()
    }

    /// Reads what [`Approvals::for_treasury`] makes, so that approvals can be passed from hand to hand and added to.
    ///
    /// # Errors
    /// [`ApprovalError::Malformed`] where it is cut off or of no known kind, [`ApprovalError::NoSignature`].
    pub fn parse(digest: B256, bytes: &[u8]) -> Result<Self, ApprovalError> {
        let mut approvals = Self::of(digest);
        let mut rest = bytes;
        while !rest.is_empty() {
            let malformed = ApprovalError::Malformed(bytes.len() - rest.len());
            approvals.read(&mut rest).ok_or(malformed)??;
        }
        Ok(approvals)
    }

    /// Takes one approval off `rest`; `None` when it is malformed.
    fn read(&mut self, rest: &mut &[u8]) -> Option<Result<(), ApprovalError>> {
        let [kind] = take::<1>(rest)?;
        match kind {
            BY_KEY => {
                let signature = Signature::from_raw_array(&take::<65>(rest)?).ok()?;
                Some(self.add(signature).map(drop))
            }
            BY_TRANSACTION => {
                self.add_transaction(take::<20>(rest)?.into());
                Some(Ok(()))
            }
            BY_CONTRACT => {
                let owner = take::<20>(rest)?.into();
                let length = u16::from_be_bytes(take::<2>(rest)?);
                let (signature, after) = rest.split_at_checked(length.into())?;
                *rest = after;
                Some(self.add_contract(owner, Bytes::copy_from_slice(signature)))
            }
            _ => None,
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*head)
}
