package spansanitizer_test

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"dixie/spansanitizer"
)

// A wallet goes in and a hash comes out; what is not on the span's list is left out.
func ExampleStartSpan() {
	recorder := tracetest.NewSpanRecorder()
	tracer := spansanitizer.NewTracer(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)), nil)

	ctx, span := spansanitizer.StartSpan(context.Background(), tracer, spansanitizer.Auth,
		attribute.String(spansanitizer.AuthType, "jwt"),
		attribute.String(spansanitizer.Wallet, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
		attribute.String("email", "alice@example.org"))
	// Further in, the span comes from the context.
	spansanitizer.AddAttributes(ctx, attribute.String(spansanitizer.Tier, "builder"))
	span.Fail(errors.New("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 is not listed"))
	span.End()

	ended := recorder.Ended()[0]
	for _, kv := range ended.Attributes() {
		fmt.Println(kv.Key, kv.Value)
	}
	fmt.Println(ended.Status().Code, ended.Status().Description)
	// Output:
	// auth_type jwt
	// wallet_hash 1df5f48ea7a5
	// tier builder
	// Error 0x[REDACTED] is not listed
}

// The zero Tracer costs nothing, and its spans need no check for nil.
func ExampleTracer() {
	var tracer spansanitizer.Tracer
	_, span := spansanitizer.StartSpan(context.Background(), tracer, spansanitizer.Request)
	defer span.End()
	span.SetAttributes(attribute.Int(spansanitizer.StatusCode, 200))
	fmt.Println(tracer.Enabled(), span.IsRecording())
	// Output: false false
}

// A policy of one's own knows more words, and hashes under a key.
func ExampleNew() {
	policy, err := spansanitizer.New(spansanitizer.Config{
		HashKey: []byte("0123456789abcdef"), // From a secret store, not from the code.
		Models:  []string{"house-model"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, model := range []string{"claude-opus-4-6", "house-model", "tell me a secret"} {
		kv, _ := policy.Attribute(spansanitizer.Inference, attribute.String(spansanitizer.Model, model))
		fmt.Println(kv.Key, kv.Value)
	}
	fmt.Println(policy.Hash("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"))
	// Output:
	// model claude-opus-4-6
	// model house-model
	// model other
	// 212dc5bf0ae3
}

func ExampleErrorText() {
	fmt.Println(spansanitizer.ErrorText(`key dxk_abcdefgh of alice@example.org may not use "my own words"`))
	// Output: key [REDACTED] of [REDACTED] may not use "[REDACTED]"
}
