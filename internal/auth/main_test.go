package auth_test

import (
	"encoding/hex"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"go.uber.org/goleak"

	"dixie/internal/auth"
	"dixie/internal/wallet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	origin = "http://localhost:3001"
	secret = "a secret of thirty-two bytes!!!!"
)

func newSIWE(tb testing.TB, chains ...int64) *auth.SIWE {
	tb.Helper()
	s, err := auth.NewSIWE(auth.SIWEConfig{Origins: []string{origin, "https://app.example"}, ChainIDs: chains}, auth.NewMemoryNonces(0))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func testKey(tb testing.TB) wallet.Key {
	tb.Helper()
	key, err := wallet.ParseKey(wallet.TestKey)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func sign(tb testing.TB, text string) string {
	tb.Helper()
	signature, err := testKey(tb).SignMessage(text)
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

// highS turns a signature into its twin with the same signer.
func highS(tb testing.TB, signature string) string {
	tb.Helper()
	raw, err := hex.DecodeString(signature[2:])
	if err != nil {
		tb.Fatal(err)
	}
	s := new(big.Int).Sub(crypto.S256().Params().N, new(big.Int).SetBytes(raw[32:64]))
	s.FillBytes(raw[32:64])
	raw[64] ^= 27 ^ 28
	return "0x" + hex.EncodeToString(raw)
}

// message is one that holds, if the nonce does.
func message(nonce string) wallet.SignInMessage {
	return wallet.SignInMessage{
		Domain: "localhost:3001", URI: origin, Address: wallet.TestAddress, Nonce: nonce, IssuedAt: time.Now(),
	}
}

// newNonce issues a nonce.
func newNonce(tb testing.TB, s *auth.SIWE) string {
	tb.Helper()
	nonce, _, err := s.Nonce(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return nonce
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// inParallel says how many of fifty parallel attempts succeed.
func inParallel(try func() bool) int {
	var good atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if try() {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	return int(good.Load())
}
