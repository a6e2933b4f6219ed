//! On a real chain: the contracts hash what Rust hashes, and do what was signed in Rust, once.

use alloy::{
    contract::{CallBuilder, CallDecoder},
    primitives::{
        Address, B256, Bytes, U256,
        aliases::{U40, U56},
        keccak256,
    },
    providers::{DynProvider, Provider},
    rpc::types::BlockNumberOrTag,
    signers::SignerSync,
    sol_types::{SolCall, SolValue},
};
use contracts::{
    ContractError,
    agent_wallet::{AgentWallet, IAgentWallet},
    agent_wallet_factory::{AgentWalletFactory, IAgentWallet as Creating},
    escrow::Escrow,
    signing::{Approvals, escrow, nested, treasury, usdc, wallet},
    treasury::{ITreasury, Treasury},
    treasury_factory::{ITreasury as Founding, TreasuryFactory},
    usdc::Usdc as Token,
};
use stack::{Account, AnvilOptions, CHAIN_ID, Chain};

const OWNERS: [usize; 3] = [1, 2, 3];
const SPENDER: usize = 4;
const RELAYER: usize = 0;
const PAYEE: Address = Address::repeat_byte(0xaa);
/// The answer of `isValidSignature` that means yes.
const VALID: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];

struct World {
    chain: Chain,
    accounts: Vec<Account>,
    now: u64,
}

impl World {
    async fn new() -> Self {
        let chain = Chain::start(&AnvilOptions::default()).await.unwrap();
        let block = chain.provider().get_block_by_number(BlockNumberOrTag::Latest).await.unwrap().unwrap();
        Self { chain, accounts: Account::all(), now: block.header.timestamp }
    }

    fn provider(&self) -> &DynProvider {
        self.chain.provider()
    }

    fn usdc(&self) -> Address {
        self.chain.deployment().usdc
    }

    fn address(&self, account: usize) -> Address {
        self.accounts[account].address
    }

    fn in_an_hour(&self) -> u64 {
        self.now + 3_600
    }

    async fn balance(&self, account: Address) -> u64 {
        self.chain.balance(account).await.unwrap().base_units()
    }

    /// By the relayer, who has no rights anywhere.
    async fn relay<P: Provider, D: CallDecoder>(&self, call: CallBuilder<P, D>) -> Result<(), String> {
        self.send(RELAYER, call).await
    }

    async fn send<P: Provider, D: CallDecoder>(&self, from: usize, call: CallBuilder<P, D>) -> Result<(), String> {
        let call = call.from(self.address(from));
        if let Err(error) = call.call().await {
            return Err(ContractError::decode(&error.as_revert_data().unwrap()).to_string());
        }
        let receipt = call.send().await.unwrap().get_receipt().await.unwrap();
        assert!(receipt.status());
        Ok(())
    }

    /// A treasury of which two of three owners decide, with 100 USDC and one spender.
    async fn treasury(&self) -> Address {
        let policy =
            Founding::Policy { dailyLimit: U56::from(50_000_000), orderMax: U56::from(50_000_000), ..Default::default() };
        let config = Founding::Config {
            owners: OWNERS.map(|owner| self.address(owner)).to_vec(),
            threshold: 2,
            guardians: vec![],
            changeDelay: 3_600,
            recipientCooldown: 3_600,
            grants: vec![Founding::Grant { spender: self.address(SPENDER), token: self.usdc(), policy, recipients: vec![] }],
            salt: B256::ZERO,
        };
        let factory = TreasuryFactory::new(self.chain.deployment().treasury_factory, self.provider());
        let treasury = factory.addressOf(config.clone()).call().await.unwrap();
        self.relay(factory.create(config)).await.unwrap();
        self.fund(treasury).await;
        treasury
    }

    /// A wallet with 100 USDC and one operator, who pays up to 10 USDC alone.
    async fn wallet(&self, owner: Address, approvers: Vec<Address>) -> Address {
        let policy = Creating::Policy {
            paymentMax: U56::from(50_000_000),
            dailyLimit: U56::from(50_000_000),
            approvalAbove: U56::from(10_000_000),
            expiresAt: U40::MAX,
            onlyAllowed: false,
        };
        let operator = Creating::OperatorConfig {
            operator: self.address(SPENDER),
            policies: vec![Creating::TokenPolicy { token: self.usdc(), policy }],
            ..Default::default()
        };
        let config = Creating::WalletConfig {
            owner,
            approvalsRequired: u8::try_from(approvers.len()).unwrap().min(2),
            approvers,
            operators: vec![operator],
            ..Default::default()
        };
        let factory = AgentWalletFactory::new(self.chain.deployment().agent_wallet_factory, self.provider());
        let wallet = factory.walletAddress(config.clone()).call().await.unwrap();
        self.relay(factory.createWallet(config)).await.unwrap();
        self.fund(wallet).await;
        wallet
    }

    async fn fund(&self, account: Address) {
        self.chain.mint(account, money::Usdc::from_base_units(100_000_000)).await.unwrap();
    }

    /// Two of the treasury's owners sign a digest.
    fn approved(&self, digest: B256) -> Approvals {
        let mut approvals = Approvals::of(digest);
        for owner in [OWNERS[2], OWNERS[0]] {
            approvals.add(self.accounts[owner].signer.sign_hash_sync(&digest).unwrap()).unwrap();
        }
        approvals
    }

    fn terms(&self, buyer: Address) -> escrow::Terms {
        escrow::Terms {
            buyer,
            seller: PAYEE,
            token: self.usdc(),
            amount: U256::from(5_000_000),
            deliverBy: self.in_an_hour(),
            reviewPeriod: 3_600,
            contentHash: keccak256("content"),
            ..Default::default()
        }
    }
}

#[tokio::test]
async fn two_of_three_owners_execute_an_order_once() {
    let world = World::new().await;
    let treasury = world.treasury().await;
    let contract = Treasury::new(treasury, world.provider());
    let order = ITreasury::Order {
        spender: world.address(SPENDER),
        token: world.usdc(),
        payments: vec![ITreasury::Payment { to: PAYEE, amount: U256::from(20_000_000), paymentRef: keccak256("invoice") }],
        nonce: U256::from(1),
        validUntil: world.in_an_hour(),
        policyEpoch: 1,
        ownerEpoch: 1,
        ..Default::default()
    };
    let message = treasury::order(&order, treasury, CHAIN_ID);
    assert_eq!(contract.orderId(order.clone()).call().await.unwrap(), message.digest());

    // One owner signs, another approves by transaction.
    let mut approvals = Approvals::of(message.digest());
    let (signing, sending) = (&world.accounts[OWNERS[1]], OWNERS[0]);
    approvals.add_from(signing.address, message.sign(&signing.signer).unwrap()).unwrap();
    let refused = world.relay(contract.execute(order.clone(), approvals.for_treasury())).await.unwrap_err();
    assert!(refused.contains("ApprovalsBelowThreshold"), "{refused}");
    world.send(sending, contract.approve(message.digest())).await.unwrap();
    approvals.add_transaction(world.address(sending));

    let mut other = order.clone();
    other.payments[0].amount += U256::ONE;
    world.relay(contract.execute(other, approvals.for_treasury())).await.unwrap_err();
    world.relay(contract.execute(order.clone(), approvals.for_treasury())).await.unwrap();
    assert_eq!(world.balance(PAYEE).await, 20_000_000);
    let refused = world.relay(contract.execute(order, approvals.for_treasury())).await.unwrap_err();
    assert!(refused.contains("NonceUsed"), "{refused}");
}

/// A treasury that is itself an owner of a treasury approves with its owners' signatures.
#[tokio::test]
async fn a_change_is_approved_by_a_key_and_by_an_owner_that_is_a_contract() {
    let world = World::new().await;
    let owner = world.treasury().await;
    let mut config = Founding::Config {
        owners: vec![owner, world.address(5)],
        threshold: 2,
        changeDelay: 3_600,
        recipientCooldown: 3_600,
        ..Default::default()
    };
    config.owners.sort();
    let factory = TreasuryFactory::new(world.chain.deployment().treasury_factory, world.provider());
    let treasury = factory.addressOf(config.clone()).call().await.unwrap();
    world.relay(factory.create(config)).await.unwrap();

    let contract = Treasury::new(treasury, world.provider());
    let call = Treasury::setThresholdCall { threshold_: U256::ONE };
    let change = ITreasury::Change {
        calls: vec![call.abi_encode().into()],
        nonce: U256::from(1),
        validUntil: world.in_an_hour() + 3_600,
        ownerEpoch: 1,
    };
    let message = treasury::change(&change, treasury, CHAIN_ID);
    let id = contract.changeId(change.clone()).call().await.unwrap();
    assert_eq!(id, message.digest());
    let in_owner = nested::Nested::new(&message, &treasury::domain(owner, CHAIN_ID));
    let by_owner = in_owner.encode(&world.approved(in_owner.digest()).for_treasury());
    let mut approvals = Approvals::of(id);
    approvals.add_contract(owner, by_owner).unwrap();
    approvals.add(message.sign(&world.accounts[5].signer).unwrap()).unwrap();
    world.relay(contract.scheduleChange(change.clone(), approvals.for_treasury())).await.unwrap();

    let message = treasury::cancellation(id, treasury, CHAIN_ID);
    assert_eq!(contract.cancellationId(id).call().await.unwrap(), message.digest());
    let in_owner = nested::Nested::new(&message, &treasury::domain(owner, CHAIN_ID));
    let mut approvals = Approvals::of(message.digest());
    approvals.add_contract(owner, in_owner.encode(&world.approved(in_owner.digest()).for_treasury())).unwrap();
    approvals.add(message.sign(&world.accounts[5].signer).unwrap()).unwrap();
    world.relay(contract.cancelChange(change, approvals.for_treasury())).await.unwrap();
    assert_eq!(contract.readyAt(id).call().await.unwrap(), u64::MAX);
}

#[tokio::test]
async fn a_payer_tops_a_treasury_up() {
    let world = World::new().await;
    let treasury = world.treasury().await;
    let contract = Treasury::new(treasury, world.provider());
    let payer = &world.accounts[5];
    let terms = ITreasury::TopUp {
        token: world.usdc(),
        from: payer.address,
        amount: U256::from(7_000_000),
        validBefore: U256::from(world.in_an_hour()),
        category: keccak256("sales"),
        ..Default::default()
    };
    let nonce = contract.topUpNonce(terms.clone()).call().await.unwrap();
    assert_eq!(nonce, treasury::top_up(&terms, treasury, CHAIN_ID).digest());
    let signature = treasury::top_up_authorization(&terms, treasury, CHAIN_ID).sign(&payer.signer).unwrap();
    world.relay(contract.topUp(terms, signature.as_bytes().into())).await.unwrap();
    assert_eq!(world.balance(treasury).await, 107_000_000);
}

#[tokio::test]
async fn an_operators_payments_are_relayed_and_above_the_tier_approved() {
    let world = World::new().await;
    let approvers = [6, 7, 8];
    let wallet = world.wallet(world.address(5), approvers.map(|approver| world.address(approver)).to_vec()).await;
    let contract = AgentWallet::new(wallet, world.provider());
    let operator = &world.accounts[SPENDER];
    let rule = contract.approvalRule().call().await.unwrap();
    let known = contract.operatorOf(operator.address).call().await.unwrap();
    let epochs = wallet::Epochs { operator: known.epoch, approval: rule.approvalEpoch };
    let payment = |amount, id| IAgentWallet::Payment {
        operator: operator.address,
        token: world.usdc(),
        to: PAYEE,
        amount: U256::from(amount),
        paymentId: U256::from(id).into(),
        deadline: U256::from(world.in_an_hour()),
    };

    let small = payment(4_000_000, 1);
    let message = wallet::payment(&small, epochs, wallet, CHAIN_ID);
    assert_eq!(contract.paymentDigest(small.clone()).call().await.unwrap(), message.digest());
    let signature = Bytes::from(message.sign(&operator.signer).unwrap().as_bytes());
    world.relay(contract.executePaymentWithSig(small.clone(), signature.clone())).await.unwrap();
    assert_eq!(world.balance(PAYEE).await, 4_000_000);
    let refused = world.relay(contract.executePaymentWithSig(small, signature)).await.unwrap_err();
    assert!(refused.contains("PaymentAlreadyExecuted"), "{refused}");

    let large = payment(20_000_000, 2);
    let message = wallet::payment(&large, epochs, wallet, CHAIN_ID);
    let signature = Bytes::from(message.sign(&operator.signer).unwrap().as_bytes());
    let mut approvals = Approvals::of(message.digest());
    for approver in [approvers[2], approvers[0]] {
        let refused = contract.executeApprovedPayment(large.clone(), signature.clone(), approvals.for_wallet().unwrap());
        assert!(world.relay(refused).await.unwrap_err().contains("NotEnoughApprovals"));
        approvals.add(message.sign(&world.accounts[approver].signer).unwrap()).unwrap();
    }
    let paid = contract.executeApprovedPayment(large, signature, approvals.for_wallet().unwrap());
    world.relay(paid).await.unwrap();
    assert_eq!(world.balance(PAYEE).await, 24_000_000);
}

/// The whole organisation: a treasury owns the wallet, so its owners approve what the operator may not pay alone.
#[tokio::test]
async fn a_treasury_that_owns_a_wallet_approves_its_payments_and_signs_for_it() {
    let world = World::new().await;
    let owner = world.treasury().await;
    let wallet = world.wallet(owner, vec![]).await;
    let contract = AgentWallet::new(wallet, world.provider());
    let operator = &world.accounts[SPENDER];
    let payment = IAgentWallet::Payment {
        operator: operator.address,
        token: world.usdc(),
        to: PAYEE,
        amount: U256::from(20_000_000),
        paymentId: B256::ZERO,
        deadline: U256::from(world.in_an_hour()),
    };
    let message = wallet::payment(&payment, wallet::Epochs { operator: 1, approval: 1 }, wallet, CHAIN_ID);
    let in_owner = nested::Nested::new(&message, &treasury::domain(owner, CHAIN_ID));
    let mut approvals = Approvals::of(message.digest());
    approvals.add_contract(owner, in_owner.encode(&world.approved(in_owner.digest()).for_treasury())).unwrap();
    let signature = message.sign(&operator.signer).unwrap().as_bytes().into();
    world.relay(contract.executeApprovedPayment(payment, signature, approvals.for_wallet().unwrap())).await.unwrap();
    assert_eq!(world.balance(PAYEE).await, 20_000_000);

    let agreement = escrow::agreement_id(&world.terms(wallet), world.chain.deployment().escrow, CHAIN_ID);
    let release = escrow::Release { agreement, total: U256::ONE, deadline: U256::MAX };
    let message = escrow::release(release, world.chain.deployment().escrow, CHAIN_ID);
    let in_wallet = nested::Nested::new(&message, &wallet::domain(wallet, CHAIN_ID));
    let in_owner = nested::personal(in_wallet.digest(), &treasury::domain(owner, CHAIN_ID));
    let signature = in_wallet.encode(&world.approved(in_owner).for_treasury());
    let asked = |signature| contract.isValidSignature(message.digest(), signature);
    assert_eq!(asked(signature.clone()).call().await.unwrap(), VALID);
    assert_ne!(asked(in_wallet.encode(&world.approved(in_wallet.digest()).for_treasury())).call().await.unwrap(), VALID);
}

#[tokio::test]
async fn a_buyer_funds_and_releases_by_signature() {
    let world = World::new().await;
    let deployment = world.chain.deployment();
    let contract = Escrow::new(deployment.escrow, world.provider());
    let buyer = &world.accounts[5];
    let terms = world.terms(buyer.address);
    let id = contract.agreementId(terms.clone()).call().await.unwrap();
    assert_eq!(id, escrow::terms(terms.clone(), deployment.escrow, CHAIN_ID).digest());

    let until = world.in_an_hour();
    let funding = escrow::funding(&terms, 0, until, deployment.escrow, CHAIN_ID).sign(&buyer.signer).unwrap();
    let fund = |terms| contract.fundWithAuthorization(terms, U256::ZERO, U256::from(until), funding.as_bytes().into());
    let other = escrow::Terms { seller: world.address(6), ..terms.clone() };
    world.relay(fund(other)).await.unwrap_err();
    world.relay(fund(terms.clone())).await.unwrap();

    let release = escrow::Release { agreement: id, total: U256::from(2_000_000), deadline: U256::from(until) };
    let signature = escrow::release(release.clone(), deployment.escrow, CHAIN_ID).sign(&buyer.signer).unwrap();
    let call = |total| contract.releaseWithSignature(terms.clone(), total, release.deadline, signature.as_bytes().into());
    let refused = world.relay(call(release.total + U256::ONE)).await.unwrap_err();
    assert!(refused.contains("SignatureInvalid"), "{refused}");
    world.relay(call(release.total)).await.unwrap();
    assert_eq!(world.balance(PAYEE).await, 2_000_000);
}

/// A treasury is the buyer: it opens by an order and releases by its owners' nested signatures.
#[tokio::test]
async fn a_treasury_releases_by_its_owners_signatures() {
    let world = World::new().await;
    let treasury = world.treasury().await;
    let (deployment, terms) = (world.chain.deployment(), world.terms(treasury));
    let agreement = escrow::agreement_id(&terms, deployment.escrow, CHAIN_ID);
    let order = ITreasury::Order {
        spender: world.address(SPENDER),
        token: world.usdc(),
        operation: 2, // OpenEscrow
        payments: vec![ITreasury::Payment { to: terms.seller, amount: terms.amount, paymentRef: agreement }],
        details: terms.abi_encode().into(),
        nonce: U256::from(1),
        validUntil: world.in_an_hour(),
        policyEpoch: 1,
        ownerEpoch: 1,
        ..Default::default()
    };
    let id = treasury::order(&order, treasury, CHAIN_ID).digest();
    let contract = Treasury::new(treasury, world.provider());
    world.relay(contract.execute(order, world.approved(id).for_treasury())).await.unwrap();

    let release = escrow::Release { agreement, total: terms.amount, deadline: U256::from(world.in_an_hour()) };
    let message = escrow::release(release.clone(), deployment.escrow, CHAIN_ID);
    let nested = nested::Nested::new(&message, &treasury::domain(treasury, CHAIN_ID));
    let signature = nested.encode(&world.approved(nested.digest()).for_treasury());
    let escrow = Escrow::new(deployment.escrow, world.provider());
    let call = escrow.releaseWithSignature(terms, release.total, release.deadline, signature);
    world.relay(call).await.unwrap();
    assert_eq!(world.balance(PAYEE).await, 5_000_000);
}

#[tokio::test]
async fn usdc_takes_every_message_of_a_holder() {
    let world = World::new().await;
    let (token, usdc_at) = (Token::new(world.usdc(), world.provider()), world.usdc());
    assert_eq!(token.DOMAIN_SEPARATOR().call().await.unwrap(), usdc::domain(usdc_at, CHAIN_ID).separator());
    let (holder, payee) = (&world.accounts[5], 6);
    let (from, value, until) = (holder.address, U256::from(1_000_000), U256::from(world.in_an_hour()));

    let [first, second, third] = ["first", "second", "third"].map(keccak256);
    let transfer =
        usdc::TransferWithAuthorization { from, to: PAYEE, value, validAfter: U256::ZERO, validBefore: until, nonce: first };
    let signature = usdc::transfer(transfer, usdc_at, CHAIN_ID).sign(&holder.signer).unwrap().as_bytes().into();
    world.relay(token.transferWithAuthorization_0(from, PAYEE, value, U256::ZERO, until, first, signature)).await.unwrap();
    assert_eq!(world.balance(PAYEE).await, 1_000_000);

    let to = world.address(payee);
    let receive = usdc::ReceiveWithAuthorization { from, to, value, validAfter: U256::ZERO, validBefore: until, nonce: second };
    let signature: Bytes = usdc::receive(receive, usdc_at, CHAIN_ID).sign(&holder.signer).unwrap().as_bytes().into();
    let call = || token.receiveWithAuthorization_0(from, to, value, U256::ZERO, until, second, signature.clone());
    world.relay(call()).await.unwrap_err();
    world.send(payee, call()).await.unwrap();

    let cancel = usdc::CancelAuthorization { authorizer: from, nonce: third };
    let signature = usdc::cancel(cancel, usdc_at, CHAIN_ID).sign(&holder.signer).unwrap().as_bytes().into();
    world.relay(token.cancelAuthorization_1(from, third, signature)).await.unwrap();
    assert!(token.authorizationState(from, third).call().await.unwrap());

    let nonce = token.nonces(from).call().await.unwrap();
    let permit = usdc::Permit { owner: from, spender: to, value, nonce, deadline: until };
    let signature = usdc::permit(permit, usdc_at, CHAIN_ID).sign(&holder.signer).unwrap().as_bytes().into();
    world.relay(token.permit_0(from, to, value, until, signature)).await.unwrap();
    assert_eq!(token.allowance(from, to).call().await.unwrap(), value);
}
