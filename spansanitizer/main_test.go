package spansanitizer_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hardhat is the address of the usual test account.
const hardhat = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

// hardhatHash is its hash by the specification.
const hardhatHash = "1df5f48ea7a5"

// keyedHash is its HMAC under the key 0123456789abcdef.
const keyedHash = "212dc5bf0ae3"
