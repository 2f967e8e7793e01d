// Package wallet handles Ethereum addresses and, for tests and command lines, signs messages with a
// private key as a wallet does (EIP-191, personal_sign). Everything in it is safe for concurrent use.
package wallet

import (
	"crypto/ecdsa"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// TestKey is the published private key of Hardhat's account 0. Everybody knows it: never fund it.
const TestKey = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"

// TestAddress is the address of [TestKey].
const TestAddress Address = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

// ErrInvalidKey is returned by [ParseKey] for text that is not a secp256k1 private key.
var ErrInvalidKey = errors.New("wallet: invalid private key")

// Address is an Ethereum address as EIP-55 writes it. Make one with [Parse].
type Address string

const addressLength = 42

// Parse reads 0x and 40 hex digits in any case and returns the EIP-55 form.
func Parse(s string) (Address, bool) {
	if len(s) != addressLength || s[0] != '0' || s[1] != 'x' || !common.IsHexAddress(s) {
		return "", false
	}
	return Address(common.HexToAddress(s).Hex()), true
}

// Key is a private key that signs as a wallet does.
type Key struct{ private *ecdsa.PrivateKey }

// ParseKey reads 64 hex digits, with or without 0x. It fails with [ErrInvalidKey].
func ParseKey(s string) (Key, error) {
	private, err := crypto.HexToECDSA(strings.TrimPrefix(s, "0x"))
	if err != nil {
		return Key{}, ErrInvalidKey
	}
	return Key{private}, nil
}

// NewKey makes a random key.
func NewKey() (Key, error) {
	private, err := crypto.GenerateKey()
	if err != nil {
		return Key{}, fmt.Errorf("wallet: generate key: %w", err)
	}
	return Key{private}, nil
}

// Address is the address that the key signs for.
func (k Key) Address() Address {
	return Address(crypto.PubkeyToAddress(k.private.PublicKey).Hex())
}

// SignMessage signs text as personal_sign does (EIP-191, version 0x45) and returns 0x and 130 hex digits.
func (k Key) SignMessage(message string) (string, error) {
	const electrumOffset = 27
	signature, err := crypto.Sign(MessageHash(message), k.private)
	if err != nil {
		return "", fmt.Errorf("wallet: sign: %w", err)
	}
	signature[crypto.RecoveryIDOffset] += electrumOffset
	return "0x" + hex.EncodeToString(signature), nil
}

// MessageHash is the Keccak-256 that personal_sign signs (EIP-191).
func MessageHash(message string) []byte {
	return crypto.Keccak256(fmt.Appendf(nil, "\x19Ethereum Signed Message:\n%d%s", len(message), message))
}

// SignInMessage is what goes into an EIP-4361 text.
type SignInMessage struct {
	// Domain is the authority that asks for the sign-in, such as localhost:3001.
	Domain string
	// URI is the resource that is signed in to, such as http://localhost:3001.
	URI     string
	Address Address
	// ChainID is 1 when zero.
	ChainID  int64
	Nonce    string
	IssuedAt time.Time
	// ExpirationTime and NotBefore are left out when zero.
	ExpirationTime time.Time
	NotBefore      time.Time
}

// String writes the text to be signed, as EIP-4361 lays it out.
func (m SignInMessage) String() string {
	chain := m.ChainID
	if chain == 0 {
		chain = 1
	}
	text := fmt.Sprintf(`%s wants you to sign in with your Ethereum account:
%s

Sign in to dixie

URI: %s
Version: 1
Chain ID: %d
Nonce: %s
Issued At: %s`, m.Domain, m.Address, m.URI, chain, m.Nonce, m.IssuedAt.UTC().Format(time.RFC3339))
	if !m.ExpirationTime.IsZero() {
		text += "\nExpiration Time: " + m.ExpirationTime.UTC().Format(time.RFC3339)
	}
	if !m.NotBefore.IsZero() {
		text += "\nNot Before: " + m.NotBefore.UTC().Format(time.RFC3339)
	}
	return text
}
