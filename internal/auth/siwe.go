package auth

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/spruceid/siwe-go"

	"dixie/internal/wallet"
)

// ErrSignIn is every way in which a sign-in does not hold. Which one it was says [Reason].
var ErrSignIn = errors.New("auth: sign-in refused")

// refusal is an ErrSignIn with a word for the log.
type refusal struct {
	reason string
	cause  error
}

func (r *refusal) Error() string { return ErrSignIn.Error() + ": " + r.reason }

func (r *refusal) Is(target error) bool { return target == ErrSignIn }

func (r *refusal) Unwrap() error { return r.cause }

func refuse(reason string) error { return &refusal{reason: reason} }

// Reason is the word for the log why a sign-in was refused. It is never sent to a client.
func Reason(err error) string {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.reason
	}
	if errors.Is(err, ErrNonceStore) {
		return "nonce_store"
	}
	return "unknown"
}

// SIWEConfig says which messages are accepted.
type SIWEConfig struct {
	// Origins are the sites that people sign in from, "scheme://host[:port]" each; at least one.
	Origins []string
	// ChainIDs restricts the chains; empty accepts any.
	ChainIDs []int64
}

const (
	// issuedAhead is how far a wallet's clock may be ahead, issuedBehind how old a message may be: a
	// nonce lives for five minutes, and the wallet's clock may be as much behind.
	issuedAhead  = 5 * time.Minute
	issuedBehind = 10 * time.Minute

	longestMessage = 4096
)

// SIWE verifies sign-ins with Ethereum (EIP-4361) against nonces that it issued.
type SIWE struct {
	nonces NonceStore
	chains []int64
	// domains holds the authorities of the origins, hosts their host names.
	domains map[string]struct{}
	hosts   map[string]struct{}
}

// NewSIWE checks the configuration.
func NewSIWE(cfg SIWEConfig, nonces NonceStore) (*SIWE, error) {
	if nonces == nil {
		return nil, errors.New("auth: sign-in needs a nonce store")
	}
	if len(cfg.Origins) == 0 {
		return nil, errors.New("auth: sign-in needs an allowed origin")
	}
	s := &SIWE{nonces: nonces, chains: cfg.ChainIDs, domains: map[string]struct{}{}, hosts: map[string]struct{}{}}
	for _, origin := range cfg.Origins {
		u, err := ParseOrigin(origin)
		if err != nil {
			return nil, err
		}
		s.domains[strings.ToLower(u.Host)] = struct{}{}
		s.hosts[strings.ToLower(u.Hostname())] = struct{}{}
	}
	return s, nil
}

// ParseOrigin reads "scheme://host[:port]" with scheme http or https and nothing behind the authority.
func ParseOrigin(origin string) (*url.URL, error) {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
		return nil, fmt.Errorf("auth: origin %q is not scheme://host[:port]", origin)
	}
	// A browser writes its origin in lower case and without the scheme's own port (RFC 6454, section 6.2).
	if origin != strings.ToLower(origin) || u.Scheme == "http" && u.Port() == "80" || u.Scheme == "https" && u.Port() == "443" {
		return nil, fmt.Errorf("auth: origin %q is not as browsers write it: lower case, without the scheme's own port", origin)
	}
	return u, nil
}

// Nonce issues a nonce for one sign-in within [NonceTTL]. It fails with [ErrNonceStore].
func (s *SIWE) Nonce(ctx context.Context) (string, time.Time, error) {
	nonce, err := newNonce()
	if err != nil {
		return "", time.Time{}, err
	}
	expires := time.Now().Add(NonceTTL)
	if err := s.nonces.Put(ctx, nonce, NonceTTL); err != nil {
		return "", time.Time{}, fmt.Errorf("%w: %w", ErrNonceStore, err)
	}
	return nonce, expires, nil
}

// Verify checks a signed message and returns the wallet that signed it. The nonce is used up once the
// message is well-formed, for this site and in time, whatever the signature is worth. Any way not to
// hold is [ErrSignIn]; a nonce store that does not answer is [ErrNonceStore].
func (s *SIWE) Verify(ctx context.Context, message, signature string) (wallet.Address, error) {
	parsed, err := parseSIWE(message)
	if err != nil {
		return "", err
	}
	if err := s.checkSite(parsed); err != nil {
		return "", err
	}
	if err := checkTime(parsed, time.Now()); err != nil {
		return "", err
	}
	fresh, err := s.nonces.Take(ctx, parsed.GetNonce())
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNonceStore, err)
	}
	if !fresh {
		return "", refuse("nonce")
	}
	if err := checkSignature(parsed, message, signature); err != nil {
		return "", err
	}
	return wallet.Address(parsed.GetAddress().Hex()), nil
}

// parseSIWE reads an EIP-4361 text. The parser writes a message anew before it hashes it, so only a
// text that it would write just the same is accepted: what is checked must be what was signed.
func parseSIWE(message string) (parsed *siwe.Message, err error) {
	if len(message) > longestMessage {
		return nil, refuse("message_too_long")
	}
	defer func() {
		// The text is hostile and the parser is not ours.
		if recover() != nil {
			parsed, err = nil, refuse("message")
		}
	}()
	parsed, perr := siwe.ParseMessage(message)
	if perr != nil {
		return nil, &refusal{"message", perr}
	}
	if parsed.String() != message {
		return nil, refuse("message_not_canonical")
	}
	return parsed, nil
}

func (s *SIWE) checkSite(m *siwe.Message) error {
	if !s.isSite(m.GetDomain()) {
		return refuse("domain")
	}
	uri := m.GetURI()
	if uri.Scheme != "http" && uri.Scheme != "https" || uri.User != nil || !s.isSite(uri.Host) {
		return refuse("uri")
	}
	if len(s.chains) > 0 && !slices.Contains(s.chains, int64(m.GetChainID())) {
		return refuse("chain")
	}
	return nil
}

// isSite says whether an authority is that of an origin, or its host name alone.
func (s *SIWE) isSite(authority string) bool {
	authority = strings.ToLower(authority)
	_, whole := s.domains[authority]
	_, host := s.hosts[authority]
	return whole || host
}

func checkTime(m *siwe.Message, now time.Time) error {
	issued, err := time.Parse(time.RFC3339Nano, m.GetIssuedAt())
	switch {
	case err != nil:
		return refuse("issued_at")
	case issued.After(now.Add(issuedAhead)):
		return refuse("issued_ahead")
	case issued.Before(now.Add(-issuedBehind)):
		return refuse("issued_long_ago")
	}
	if text := m.GetExpirationTime(); text != nil {
		if expires, err := time.Parse(time.RFC3339Nano, *text); err != nil || !now.Before(expires) {
			return refuse("expired")
		}
	}
	if text := m.GetNotBefore(); text != nil {
		if from, err := time.Parse(time.RFC3339Nano, *text); err != nil || now.Before(from) {
			return refuse("not_yet_valid")
		}
	}
	return nil
}

const (
	signatureBytes = 65
	scalarBytes    = 32
)

// checkSignature accepts 65 bytes r || s || v with a low s (EIP-2), so that a signature has one form,
// whose signer is the address in the message (EIP-191).
func checkSignature(m *siwe.Message, message, signature string) error {
	text, ok := strings.CutPrefix(signature, "0x")
	if !ok || len(text) != 2*signatureBytes {
		return refuse("signature_shape")
	}
	raw, err := hex.DecodeString(text)
	if err != nil {
		return refuse("signature_shape")
	}
	v := raw[crypto.RecoveryIDOffset]
	if v >= 27 { //nolint:mnd // 27 and 28 are what wallets write for 0 and 1.
		v -= 27
	}
	raw[crypto.RecoveryIDOffset] = v
	r := new(big.Int).SetBytes(raw[:scalarBytes])
	sc := new(big.Int).SetBytes(raw[scalarBytes : 2*scalarBytes])
	if !crypto.ValidateSignatureValues(v, r, sc, true) {
		return refuse("signature_values")
	}
	public, err := crypto.SigToPub(wallet.MessageHash(message), raw)
	if err != nil {
		return refuse("signature")
	}
	if crypto.PubkeyToAddress(*public) != m.GetAddress() {
		return refuse("signer")
	}
	return nil
}
