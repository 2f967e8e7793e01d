package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"dixie/internal/wallet"
)

// Issuer is the iss claim of every token.
const Issuer = "dixie-bff"

// TokenTTL is how long a token is good.
const TokenTTL = time.Hour

const (
	// minSecretBytes is the size of the hash, the least that RFC 7518 section 3.2 allows for HS256.
	minSecretBytes = 32
	longestToken   = 4096
	// maxKnown bounds the tokens that are known to hold, about 500 bytes each.
	maxKnown = 10_000
)

// ErrToken is every way in which a token is not good; [ErrorType] says which.
var ErrToken = errors.New("auth: token refused")

// Claims is what a good token says.
type Claims struct {
	// Wallet is the EIP-55 address of the subject.
	Wallet    string
	Role      string
	ExpiresAt time.Time
}

// TokenSigner issues tokens.
type TokenSigner interface {
	// Sign issues a token for a wallet, an EIP-55 address.
	Sign(walletAddress, role string) (token string, err error)
}

// TokenVerifier checks tokens. It fails with [ErrToken].
type TokenVerifier interface {
	Verify(token string) (Claims, error)
}

// tokenClaims is the wire form: sub and wallet carry the same value.
type tokenClaims struct {
	jwt.RegisteredClaims

	Wallet string `json:"wallet"`
	Role   string `json:"role"`
}

// Validate implements jwt.ClaimsValidator: the claims that are ours.
func (c *tokenClaims) Validate() error {
	address, ok := wallet.Parse(c.Subject)
	switch {
	case !ok || string(address) != c.Subject:
		return errors.New("sub is not an EIP-55 address")
	case c.Wallet != c.Subject:
		return errors.New("wallet differs from sub")
	case c.Role == "":
		return errors.New("role is missing")
	case c.IssuedAt == nil:
		return errors.New("iat is missing")
	}
	return nil
}

// HS256 signs and verifies tokens with a shared secret (RFC 7518 section 3.2).
type HS256 struct {
	secret []byte
	parser *jwt.Parser
	// known has the claims of tokens that held, by the hash of the whole token, so that memory holds none that
	// would open anything. A token comes with each request of its bearer, and to check one costs more than
	// the rest of the way in.
	known *lru.Cache[[sha256.Size]byte, Claims]
}

var (
	_ TokenSigner   = (*HS256)(nil)
	_ TokenVerifier = (*HS256)(nil)
)

// NewHS256 needs a secret of at least 32 bytes. It keeps a copy.
func NewHS256(secret []byte) (*HS256, error) {
	if len(secret) < minSecretBytes {
		return nil, fmt.Errorf("auth: the token secret has %d bytes, %d are needed", len(secret), minSecretBytes)
	}
	known, err := lru.New[[sha256.Size]byte, Claims](maxKnown)
	if err != nil {
		return nil, fmt.Errorf("auth: memory for tokens: %w", err)
	}
	return &HS256{
		known:  known,
		secret: append([]byte(nil), secret...),
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithIssuer(Issuer),
			jwt.WithExpirationRequired(),
			jwt.WithIssuedAt(),
			jwt.WithStrictDecoding(),
		),
	}, nil
}

// Sign implements [TokenSigner]. The token is good for [TokenTTL] from now.
func (h *HS256) Sign(walletAddress, role string) (string, error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", fmt.Errorf("auth: token id: %w", err)
	}
	// Tokens carry whole seconds (NumericDate).
	now := time.Now().Truncate(time.Second)
	claims := &tokenClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    Issuer,
			Subject:   walletAddress,
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(TokenTTL)),
			ID:        hex.EncodeToString(id[:]),
		},
		Wallet: walletAddress,
		Role:   role,
	}
	if err := claims.Validate(); err != nil {
		return "", fmt.Errorf("auth: sign token: %w", err)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(h.secret)
	if err != nil {
		return "", fmt.Errorf("auth: sign token: %w", err)
	}
	return token, nil
}

// Verify implements [TokenVerifier]: HS256 only, issuer, expiry without leeway, our own claims. Of a token that
// held before only the expiry is asked: it cannot be revoked, the times before which it does not hold have passed,
// and whether its wallet may still come in is for the allowlist to say. What is refused is checked anew each
// time and takes nobody's place.
func (h *HS256) Verify(token string) (Claims, error) {
	if len(token) > longestToken {
		return Claims{}, fmt.Errorf("%w: %w", ErrToken, jwt.ErrTokenMalformed)
	}
	hash := hashOf(token)
	if known, ok := h.known.Get(hash); ok {
		if time.Now().Before(known.ExpiresAt) {
			return known, nil
		}
		h.known.Remove(hash) // And the check below names the refusal.
	}
	var claims tokenClaims
	_, err := h.parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return h.secret, nil })
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	good := Claims{Wallet: claims.Wallet, Role: claims.Role, ExpiresAt: claims.ExpiresAt.Time}
	h.known.Add(hash, good)
	return good, nil
}

// ErrorType is the word that the log shows for a token that was refused: expired, invalid_signature,
// invalid_claims or malformed.
func ErrorType(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return "expired"
	case errors.Is(err, jwt.ErrTokenMalformed):
		return "malformed"
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return "invalid_signature"
	default:
		return "invalid_claims"
	}
}
