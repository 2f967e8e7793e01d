package dixie_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"dixie"
	"dixie/internal/wallet"
)

// The smallest handler: in development, everything that is missing is filled in.
func ExampleNew() {
	h, err := dixie.New(dixie.WithEnvironment(dixie.Development))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = h.Shutdown(context.Background()) }()

	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", http.NoBody))
	fmt.Println(answer.Code, answer.Body)
	// Output: 200 {"status":"ready"}
}

// Outside of development and test nothing is filled in, and New says all that is missing.
func ExampleNew_production() {
	_, err := dixie.New(dixie.WithAuth(dixie.AuthConfig{
		TokenSecret: []byte("thirty-two bytes that nobody knows"),
		Origins:     []string{"https://app.example"},
	}))
	fmt.Println(err)
	// Output:
	// dixie: an allowlist is required in production: use WithAllowlist or WithAllowlistFile, or WithEnvironment(dixie.Development) to try dixie out
	// the URL of Finn is required in production: use WithFinn, or WithEnvironment(dixie.Development) to try dixie out
	// a store for chat sessions is required in production: use WithChat, or WithEnvironment(dixie.Development) to try dixie out
	// a store for fleet tasks is required in production: use WithFleet, or WithEnvironment(dixie.Development) to try dixie out
	// a store for reputation is required in production: use WithReputation, or WithEnvironment(dixie.Development) to try dixie out
}

// Signing in: fetch a nonce, have the wallet sign an EIP-4361 message with it, get a token.
func ExampleHandler_signIn() {
	h, err := dixie.New(dixie.WithEnvironment(dixie.Development))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = h.Shutdown(context.Background()) }()

	key, err := crypto.GenerateKey()
	if err != nil {
		fmt.Println(err)
		return
	}
	address := crypto.PubkeyToAddress(key.PublicKey).Hex()
	nonce := call(h, "", http.MethodGet, "/api/auth/nonce", "")["nonce"]

	message := fmt.Sprintf("localhost:3001 wants you to sign in with your Ethereum account:\n%s\n\nSign in.\n\n"+
		"URI: http://localhost:3001\nVersion: 1\nChain ID: 1\nNonce: %s\nIssued At: %s",
		address, nonce, time.Now().UTC().Format(time.RFC3339))
	// What a browser's wallet does for personal_sign (EIP-191).
	hash := crypto.Keccak256(fmt.Appendf(nil, "\x19Ethereum Signed Message:\n%d%s", len(message), message))
	signature, err := crypto.Sign(hash, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	signature[crypto.RecoveryIDOffset] += 27
	body, err := json.Marshal(map[string]string{"message": message, "signature": hexutil.Encode(signature)})
	if err != nil {
		fmt.Println(err)
		return
	}

	signedIn := call(h, "", http.MethodPost, "/api/auth/siwe", string(body))
	token, _ := signedIn["token"].(string)
	verified := call(h, token, http.MethodGet, "/api/auth/verify", "")
	fmt.Println(signedIn["expiresIn"], verified["wallet"] == address)
	// Output: 1h true
}

// A turn in a new session, and another one in the same.
func ExampleHandler_chat() {
	h, token := signedIn()
	defer func() { _ = h.Shutdown(context.Background()) }()

	first := call(h, token, http.MethodPost, "/api/chat", `{"prompt":"hello"}`)
	fmt.Println(first["response"])
	second := call(h, token, http.MethodPost, "/api/chat", fmt.Sprintf(`{"prompt":"hello again","sessionId":%q}`, first["sessionId"]))
	fmt.Println(second["response"], second["sessionId"] == first["sessionId"])
	// Output:
	// You said: hello
	// You said: hello again true
}

// A task is admitted by governance, at a price, and then runs by itself.
func ExampleHandler_spawn() {
	h, token := signedIn()
	defer func() { _ = h.Shutdown(context.Background()) }()

	task := call(h, token, http.MethodPost, "/api/fleet/spawn", `{"description":"Fix the flaky test","taskType":"bug_fix","repository":"acme/app"}`)
	fmt.Println(task["status"], task["agentType"], task["costMicroUsd"])
	next := call(h, token, http.MethodPost, "/api/governance/admission", `{}`)
	fmt.Println(next["decision"], next["tier"], next["budget"])
	// Output:
	// proposed claude_code 5600
	// admit architect map[limit:100000 remaining:94400 spent:5600]
}

// An observation of an agent's work, counted once however often it is sent.
func ExampleHandler_record() {
	h, token := signedIn()
	defer func() { _ = h.Shutdown(context.Background()) }()

	const event = `{"type":"quality_signal","score":0.8,"event_id":"d9b2d63d-a233-4123-847a-7090a8a1f0c1"}`
	for range 2 {
		recorded := call(h, token, http.MethodPost, "/api/reputation/oracle-001/events", event)
		fmt.Println(recorded["ema"], recorded["sample_count"], recorded["duplicate"])
	}
	fmt.Println(call(h, token, http.MethodGet, "/api/reputation/oracle-001", "")["ema"])
	// Output:
	// 0.8 1 false
	// 0.8 1 true
	// 0.8
}

// call sends one request and returns the fields of the answer.
func call(h http.Handler, token, method, path, body string) map[string]any {
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	raw, _ := io.ReadAll(recorder.Result().Body)
	var fields map[string]any
	_ = json.Unmarshal(raw, &fields)
	return fields
}

// signedIn makes a handler and a token of a new wallet, as the example of signing in does. Were anything
// to fail, the examples' output would tell.
func signedIn() (*dixie.Handler, string) {
	h, _ := dixie.New(dixie.WithEnvironment(dixie.Development))
	key, _ := wallet.NewKey()
	nonce, _ := call(h, "", http.MethodGet, "/api/auth/nonce", "")["nonce"].(string)
	message := wallet.SignInMessage{
		Domain: "localhost:3001", URI: dixie.DefaultOrigin, Address: key.Address(), Nonce: nonce, IssuedAt: time.Now(),
	}.String()
	signature, _ := key.SignMessage(message)
	token, _ := call(h, "", http.MethodPost, "/api/auth/siwe", fmt.Sprintf(`{"message":%q,"signature":%q}`, message, signature))["token"].(string)
	return h, token
}
