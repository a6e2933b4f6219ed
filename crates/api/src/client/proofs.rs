//! What is known of a content before it is bought. Nothing is returned that was not verified.

use http::Method;
use uuid::Uuid;

use super::{Client, ClientError};
use crate::{
    Listing,
    proofs::{
        CheckDelivery, ContentCommitment, ContentProofs, ContentVerified, Delivery, KeywordChecked, KeywordQuery, ProofError,
        VerifyContent,
    },
};

impl Client {
    /// Reads the commitment to a listing's content. Keep it: everything else is verified against it, and compare it with
    /// [`ContentCommitment::of`] what was bought.
    pub async fn content_proofs(&self, listing: &Listing) -> Result<ContentProofs, ClientError> {
        let proofs: ContentProofs = self.get(&format!("api/v1/zkp/{}/proofs", listing.id), &()).await?;
        let commitment = &proofs.commitment;
        let is_it =
            Some(commitment.content_hash) == listing.content_hash && Some(commitment.content_size) == listing.content_size;
        if is_it && proofs.commitment_id == commitment.id() { Ok(proofs) } else { Err(ProofError::OtherCommitment.into()) }
    }

    /// Has words, fields and counts proved, and chunks shown. What is not proved is an error, whatever the market says.
    pub async fn verify_content(
        &self,
        listing: Uuid,
        commitment: &ContentCommitment,
        asked: &VerifyContent,
    ) -> Result<ContentVerified, ClientError> {
        let answer: ContentVerified = self.send(Method::POST, &format!("api/v1/zkp/{listing}/verify"), asked).await?;
        answer.verify(commitment, asked)?;
        Ok(answer)
    }

    /// Whether a word is in the text, as is proved.
    pub async fn has_keyword(&self, listing: Uuid, commitment: &ContentCommitment, word: &str) -> Result<bool, ClientError> {
        let query = KeywordQuery { word: word.into() };
        let answer: KeywordChecked = self.get(&format!("api/v1/zkp/{listing}/bloom-check"), &query).await?;
        Ok(answer.verify(commitment, word)?)
    }

    /// Has what was delivered compared with what was agreed on, for the record.
    pub async fn check_delivery(&self, shown: &CheckDelivery) -> Result<Delivery, ClientError> {
        self.send(Method::POST, "api/v1/verify", shown).await
    }
}
