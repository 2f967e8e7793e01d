// Command siwe-login signs in with a private key and prints the token, so that a shell can do what a
// browser's wallet does:
//
//	TOKEN=$(go run ./examples/siwe-login)
//
// By default it uses the published test key of Hardhat's account 0 against http://localhost:3001.
// Flags: -url, the server; -origin, the site that the message names (default: the server);
// -new, a fresh random wallet. The environment variable SIWE_PRIVATE_KEY takes another key; a key is
// never taken from the command line, where other users of the machine could read it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"dixie/internal/wallet"
)

const (
	timeout   = 10 * time.Second
	maxAnswer = 64 << 10
)

func main() {
	err := run(os.Args[1:], os.Getenv("SIWE_PRIVATE_KEY"), os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "siwe-login:", err)
		os.Exit(1)
	}
}

func run(args []string, privateKey string, out io.Writer) error {
	flags := flag.NewFlagSet("siwe-login", flag.ContinueOnError)
	server := flags.String("url", "http://localhost:3001", "base URL of the server")
	origin := flags.String("origin", "", "origin that the message names (default: the URL)")
	fresh := flags.Bool("new", false, "sign in with a new random wallet")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("flags: %w", err)
	}
	if *origin == "" {
		*origin = *server
	}
	key, err := chooseKey(*fresh, privateKey)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	token, err := signIn(ctx, strings.TrimSuffix(*server, "/"), strings.TrimSuffix(*origin, "/"), key)
	if err != nil {
		return err
	}
	if _, err = fmt.Fprintln(out, token); err != nil {
		return fmt.Errorf("print token: %w", err)
	}
	return nil
}

func chooseKey(fresh bool, privateKey string) (wallet.Key, error) {
	switch {
	case fresh:
		return wallet.NewKey()
	case privateKey != "":
		return wallet.ParseKey(privateKey)
	default:
		return wallet.ParseKey(wallet.TestKey)
	}
}

func signIn(ctx context.Context, server, origin string, key wallet.Key) (string, error) {
	site, err := url.Parse(origin)
	if err != nil || site.Host == "" {
		return "", fmt.Errorf("origin %q is not a URL", origin)
	}
	var issued struct {
		Nonce string `json:"nonce"`
	}
	if err := call(ctx, http.MethodGet, server+"/api/auth/nonce", nil, &issued); err != nil {
		return "", fmt.Errorf("get a nonce: %w", err)
	}
	message := wallet.SignInMessage{
		Domain: site.Host, URI: origin, Address: key.Address(), Nonce: issued.Nonce, IssuedAt: time.Now(),
	}.String()
	signature, err := key.SignMessage(message)
	if err != nil {
		return "", err
	}
	var signedIn struct {
		Token string `json:"token"`
	}
	request := map[string]string{"message": message, "signature": signature}
	if err := call(ctx, http.MethodPost, server+"/api/auth/siwe", request, &signedIn); err != nil {
		return "", fmt.Errorf("sign in: %w", err)
	}
	return signedIn.Token, nil
}

func call(ctx context.Context, method, target string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("is the server running? %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: %s (is the origin one of the server's? see -origin)", response.Status, bytes.TrimSpace(raw))
	default:
		return fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(raw))
	}
	if json.Unmarshal(raw, out) != nil {
		return errors.New("the answer is not JSON")
	}
	return nil
}
