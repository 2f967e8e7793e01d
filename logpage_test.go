package dixie_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestLogLines: docs/observability.md explains each line that the module and its server can log, and no library logs the
// text of an error as it is.
func TestLogLines(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	err = filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == "e2e" || path == "examples/siwe-login" ||
			strings.HasSuffix(path, "test") || strings.HasPrefix(path, ".") && path != "."):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			message, arguments := logged(n)
			if message == nil {
				return true
			}
			lines++
			at := files.Position(n.Pos())
			if text, _ := strconv.Unquote(message.Value); !strings.HasPrefix(text, "[fleet]") && !strings.Contains(string(page), "`"+text) {
				t.Errorf("%s: docs/observability.md does not explain %q", at, text)
			}
			if !strings.HasPrefix(path, "examples/") && len(rawErrors(arguments)) > 0 {
				t.Errorf("%s: an error is logged as it is, not by spansanitizer.TextOf", at)
			}
			return true
		})
		return nil
	})
	if err != nil || lines < 80 { //nolint:mnd // There are more.
		t.Errorf("%d lines, %v", lines, err)
	}
}

// logged are the message and the rest of what a call of a logger is given, if the message is a constant.
func logged(n ast.Node) (*ast.BasicLit, []ast.Expr) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return nil, nil
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !regexp.MustCompile(`^(Log|LogAttrs|(Debug|Info|Warn|Error)(Context)?)$`).MatchString(method.Sel.Name) {
		return nil, nil
	}
	for i, argument := range call.Args {
		if literal, ok := argument.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			return literal, call.Args[i+1:]
		}
	}
	return nil, nil
}

// rawErrors are the values of the attribute "error", among the arguments of a call of a logger or of one that makes an
// attribute, that are not sanitised.
func rawErrors(arguments []ast.Expr) []ast.Expr {
	var raw []ast.Expr
	for i, argument := range arguments {
		if call, ok := argument.(*ast.CallExpr); ok {
			raw = append(raw, rawErrors(call.Args)...)
		}
		key, ok := argument.(*ast.BasicLit)
		if !ok || key.Value != `"error"` || i+1 == len(arguments) {
			continue
		}
		call, ok := arguments[i+1].(*ast.CallExpr)
		if ok {
			method, ok := call.Fun.(*ast.SelectorExpr)
			if ok && (method.Sel.Name == "TextOf" || method.Sel.Name == "ErrorText") {
				continue
			}
		}
		raw = append(raw, arguments[i+1])
	}
	return raw
}
