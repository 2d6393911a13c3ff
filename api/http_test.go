package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/runnel/runnel/api"
	runnelv1 "github.com/runnel/runnel/api/v1"
	"github.com/runnel/runnel/api/v1/runnelv1connect"
	"github.com/runnel/runnel/channel"
)

// curl sends what `curl --unix-socket` would and returns status and body.
func curl(t *testing.T, socket, method, path, body string, header ...string) (int, string) {
	t.Helper()
	res := open(t, socket, method, path, body, header...)
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(out)
}

func open(t *testing.T, socket, method, path, body string, header ...string) *http.Response {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	req, err := http.NewRequestWithContext(deadline(t), method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestCurlPays(t *testing.T) {
	id, chanID := channel.PaymentID{1, 2}, channel.ID{3, 4}
	node := &fakeNode{pay: func(_ context.Context, r channel.PayRequest) (channel.PayResult, error) {
		if r.Amount != 9_007_199_254_740_993 || !r.HasID || r.ID != id || r.Ref != `a<"b"` {
			return channel.PayResult{}, channel.Faultf(channel.CodeFailure, "asked for %+v", r)
		}
		return channel.PayResult{ID: r.ID, Channel: chanID, Amount: r.Amount, Total: 1 << 62, Status: channel.PayAcknowledged}, nil
	}}
	_, _, socket := serve(t, node)
	// 2^53 + 1: a number that does not survive a detour through floating point
	status, body := curl(t, socket, "POST", "/runnel.v1.PaymentService/Pay",
		fmt.Sprintf(`{"target":"abcd","amount_msat":9007199254740993,"ref":"a<\"b\"","payment_id":"%s","timeout_ms":1000}`, id))
	want := fmt.Sprintf(`{"payment_id":"%s","channel_id":"%s","amount_msat":9007199254740993,"total_msat":4611686018427387904,`+
		`"status":"acknowledged","reason":"","error":null}`, id, chanID)
	if status != 200 || body != want {
		t.Fatalf("got %d %s\nwant 200 %s", status, body, want)
	}
}

func TestCurlSeesErrors(t *testing.T) {
	node := &fakeNode{err: channel.Faultf(channel.CodeInsufficient, "5 sat are spendable, not 9").WithHint("Pay less.")}
	_, _, socket := serve(t, node)
	pay := "/runnel.v1.PaymentService/Pay"
	ok := `{"target":"abcd","amount_msat":9000}`
	for name, c := range map[string]struct {
		path, body string
		status     int
		code       string
		contains   []string
	}{
		"fault":        {pay, ok, 400, "failed_precondition", []string{"5 sat are spendable", "insufficient_capacity", "Pay less."}},
		"zero":         {pay, `{"target":"abcd"}`, 400, "invalid_argument", []string{"smallest payment is 1"}},
		"too much":     {pay, `{"target":"abcd","amount_msat":18446744073709551615}`, 400, "invalid_argument", []string{"more than all bitcoin"}},
		"overflow":     {pay, `{"target":"abcd","amount_msat":18446744073709551616}`, 400, "invalid_argument", nil},
		"negative":     {pay, `{"target":"abcd","amount_msat":-1}`, 400, "invalid_argument", nil},
		"fraction":     {pay, `{"target":"abcd","amount_msat":1.5}`, 400, "invalid_argument", nil},
		"no target":    {pay, `{"amount_msat":1}`, 400, "invalid_argument", []string{"target is empty"}},
		"misspelled":   {pay, `{"target":"abcd","amount_msat":1,"time_out":3}`, 400, "invalid_argument", []string{"time_out"}},
		"short id":     {pay, `{"target":"abcd","amount_msat":1,"payment_id":"ab"}`, 400, "invalid_argument", []string{"payment_id has 2 characters"}},
		"no hex":       {pay, `{"target":"abcd","amount_msat":1,"payment_id":"` + strings.Repeat("g", 32) + `"}`, 400, "invalid_argument", []string{"not hexadecimal"}},
		"long ref":     {pay, `{"target":"abcd","amount_msat":1,"ref":"` + strings.Repeat("r", 65) + `"}`, 400, "invalid_argument", []string{"65 bytes"}},
		"long wait":    {pay, `{"target":"abcd","amount_msat":1,"timeout_ms":3600001}`, 400, "invalid_argument", []string{"3600000"}},
		"empty":        {pay, ``, 400, "invalid_argument", []string{"{}"}},
		"no JSON":      {pay, `{`, 400, "invalid_argument", nil},
		"huge":         {pay, `{"target":"` + strings.Repeat("x", 5<<20) + `"}`, 429, "resource_exhausted", nil},
		"no method":    {"/runnel.v1.PaymentService/Rob", `{}`, 404, "", nil},
		"no service":   {"/", ``, 501, "unimplemented", []string{"this daemon has no /", "GetStatus"}},
		"send nothing": {"/runnel.v1.WalletService/Send", `{"address":"a"}`, 400, "invalid_argument", []string{"amount_sat is 0"}},
		"send both":    {"/runnel.v1.WalletService/Send", `{"address":"a","amount_sat":5,"all":true}`, 400, "invalid_argument", []string{"give one of them"}},
		"send nowhere": {"/runnel.v1.WalletService/Send", `{"amount_sat":5}`, 400, "invalid_argument", []string{"address is empty"}},
		"open nobody":  {"/runnel.v1.ChannelService/Open", `{"deposit_sat":5}`, 400, "invalid_argument", []string{"peer is empty"}},
		"open huge":    {"/runnel.v1.ChannelService/Open", `{"peer":"a","peer_deposit_sat":2100000000000001}`, 400, "invalid_argument", []string{"peer_deposit_sat"}},
		"list huge":    {"/runnel.v1.PaymentService/List", `{"limit":100001}`, 400, "invalid_argument", []string{"100000 is the most"}},
		"bad since":    {"/events?since=x", ``, 400, "invalid_argument", []string{"since is"}},
	} {
		method := "POST"
		if strings.HasPrefix(c.path, "/events") {
			method = "GET"
		}
		status, body := curl(t, socket, method, c.path, c.body)
		var got struct{ Code, Message string }
		if err := json.Unmarshal([]byte(body), &got); c.code != "" && err != nil {
			t.Errorf("%s: %v in %q", name, err, body)
		}
		if status != c.status || got.Code != c.code {
			t.Errorf("%s: got %d %s, want %d %s", name, status, body, c.status, c.code)
		}
		for _, part := range c.contains {
			if !strings.Contains(strings.ReplaceAll(body, `\"`, `"`), part) {
				t.Errorf("%s: no %q in %s", name, part, body)
			}
		}
	}
}

// TestErrorDetailIsReadable: a program without protobuf finds our code in the JSON.
func TestErrorDetailIsReadable(t *testing.T) {
	node := &fakeNode{err: channel.Faultf(channel.CodeNotReady, "starting").WithHint("Wait.")}
	_, _, socket := serve(t, node)
	status, body := curl(t, socket, "POST", "/runnel.v1.NodeService/GetStatus", "{}")
	var got struct {
		Code    string
		Message string
		Details []struct {
			Type  string
			Debug struct {
				Code, Hint string
				Retryable  bool
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if status != 503 || got.Code != "unavailable" || got.Message != "starting" || len(got.Details) != 1 {
		t.Fatalf("got %d %s", status, body)
	}
	d := got.Details[0]
	if d.Type != "runnel.v1.ErrorInfo" || d.Debug.Code != "not_ready" || d.Debug.Hint != "Wait." || !d.Debug.Retryable {
		t.Fatalf("detail: %s", body)
	}
}

func TestBrowsersAreRefused(t *testing.T) {
	node := &fakeNode{}
	_, _, socket := serve(t, node)
	status := "/runnel.v1.NodeService/GetStatus"
	for _, header := range [][]string{
		{"Origin", "https://evil.example"}, {"Origin", "http://localhost"}, {"Origin", "null"},
		{"Host", "evil.example"}, {"Host", "evil.example:80"}, {"Host", "localhost.evil.example"}, {"Host", "169.254.169.254"},
	} {
		for _, path := range []string{status, "/events", "/"} {
			code, body := curl(t, socket, "POST", path, "{}", header...)
			if code != 403 || !strings.Contains(body, "permission_denied") || !strings.Contains(body, "refused") {
				t.Errorf("%v %s: %d %s", header, path, code, body)
			}
		}
	}
	if node.last() != nil {
		t.Error("a refused request reached the node")
	}
	for _, host := range []string{"localhost", "localhost:80", "runnel", "Runnel", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:80"} {
		if code, body := curl(t, socket, "POST", status, "{}", "Host", host); code != 200 {
			t.Errorf("host %s: %d %s", host, code, body)
		}
	}
}

// TestCompressedRequestsAreRefused: nothing local needs them, and they expand.
func TestCompressedRequestsAreRefused(t *testing.T) {
	_, _, socket := serve(t, &fakeNode{})
	code, body := curl(t, socket, "POST", "/runnel.v1.NodeService/GetStatus", "{}", "Content-Encoding", "gzip")
	if code == 200 || !strings.Contains(body, "unimplemented") {
		t.Fatalf("got %d %s", code, body)
	}
}

// TestUnknownFieldsAreRefused: a newer program must not believe that an older daemon kept its limit.
func TestUnknownFieldsAreRefused(t *testing.T) {
	node := &fakeNode{}
	_, _, socket := serve(t, node)
	m, err := proto.Marshal(&runnelv1.PayRequest{Target: "abcd", AmountMsat: 1})
	if err != nil {
		t.Fatal(err)
	}
	m = append(m, 0x98, 0x06, 0x01) // field 99, varint 1
	code, body := curl(t, socket, "POST", "/runnel.v1.PaymentService/Pay", string(m), "Content-Type", "application/proto")
	if code == 200 || !strings.Contains(body, "unsupported") || node.last() != nil {
		t.Fatalf("got %d %s", code, body)
	}
}

func TestPanicIsAnError(t *testing.T) {
	node := &fakeNode{pay: func(context.Context, channel.PayRequest) (channel.PayResult, error) { panic("boom") }}
	node.watch = func(context.Context, uint64, func(channel.Event) error) error { panic("boom") }
	_, c, socket := serve(t, node)
	ctx := deadline(t)
	_, err := c.Pay(ctx, channel.PayRequest{Target: "abcd", Amount: 1})
	if f := fault(t, err); f.Code != channel.CodePending || strings.Contains(f.Text, "boom") {
		t.Errorf("a payment after a panic: %+v", f)
	}
	if f := fault(t, c.Watch(ctx, 0, nil)); f.Code != channel.CodeFailure {
		t.Errorf("events after a panic: %+v", f)
	}
	if code, _ := curl(t, socket, "POST", "/runnel.v1.NodeService/GetStatus", "{}"); code != 200 {
		t.Errorf("the server is dead: %d", code)
	}
}

func TestSlowBodyIsCut(t *testing.T) {
	socket := filepath.Join(socketDir(t), "s")
	serveAt(t, api.Config{Socket: socket, Log: quiet()}.ForTest(100*time.Millisecond, 10), &fakeNode{})
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /runnel.v1.NodeService/GetStatus HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("the server did not end the connection: %v %s", err, answer)
	}
	if strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		t.Fatalf("got %s", answer)
	}
}

// TestSlowAnswerIsNotCut: the time for the body does not run while the node works.
func TestSlowAnswerIsNotCut(t *testing.T) {
	node := &fakeNode{pay: func(ctx context.Context, r channel.PayRequest) (channel.PayResult, error) {
		select {
		case <-time.After(500 * time.Millisecond):
			return channel.PayResult{ID: r.ID, Amount: r.Amount, Status: channel.PayAcknowledged}, nil
		case <-ctx.Done():
			return channel.PayResult{}, channel.Faultf(channel.CodeFailure, "cut")
		}
	}}
	node.watch = func(ctx context.Context, _ uint64, fn func(channel.Event) error) error {
		select {
		case <-time.After(500 * time.Millisecond):
			return fn(channel.Event{Seq: 1, Kind: channel.EventAlert})
		case <-ctx.Done():
			return channel.Faultf(channel.CodeFailure, "cut")
		}
	}
	socket := filepath.Join(socketDir(t), "s")
	serveAt(t, api.Config{Socket: socket, Log: quiet()}.ForTest(100*time.Millisecond, 10), node)
	c := dial(t, socket)
	if r, err := c.Pay(deadline(t), channel.PayRequest{Target: "abcd", Amount: 1}); err != nil || r.Status != channel.PayAcknowledged {
		t.Fatalf("%+v %v", r, err)
	}
	if code, body := curl(t, socket, "GET", "/events", ""); code != 200 || !strings.Contains(body, `"seq":1`) {
		t.Fatalf("%d %s", code, body)
	}
	seen := false
	_ = c.Watch(deadline(t), 0, func(channel.Event) error { seen = true; return nil })
	if !seen {
		t.Fatal("the event stream was cut")
	}
}

func TestEventLines(t *testing.T) {
	node := &fakeNode{watch: func(ctx context.Context, since uint64, fn func(channel.Event) error) error {
		for seq := since + 1; seq <= since+3; seq++ {
			if err := fn(channel.Event{Seq: seq, Kind: channel.EventAlert, Text: "a\nb"}); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	_, _, socket := serve(t, node)
	res := open(t, socket, "GET", "/events?since=41", "")
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for seq := 42; seq <= 44; seq++ {
		if !lines.Scan() {
			t.Fatal("the stream ended")
		}
		var e struct {
			Seq        uint64
			Kind, Text string
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Seq != uint64(seq) || e.Kind != "alert" || e.Text != "a\nb" {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
	}
}

var update = flag.Bool("update", false, "rewrite testdata")

// TestJSONShape holds every key and type of every message that the API answers with. Programs that read
// JSON depend on it: fields may be added, nothing else.
func TestJSONShape(t *testing.T) {
	var out bytes.Buffer
	messages := runnelv1.File_api_v1_runnel_proto.Messages()
	for i := range messages.Len() {
		d := messages.Get(i)
		if strings.HasSuffix(string(d.Name()), "Request") || d.Fields().Len() == 0 {
			continue
		}
		b, err := api.JSON(filled(d, 3).Interface())
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%s: %v in %s", d.Name(), err, b)
		}
		fmt.Fprintf(&out, "%s\n", d.Name())
		shape(&out, "  ", v)
	}
	path := filepath.Join("testdata", "json_shape.txt")
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("the JSON of the API has changed; if that is meant, run with -update\n%s", out.Bytes())
	}
}

// filled makes a message with something in every list and message field.
func filled(d protoreflect.MessageDescriptor, depth int) protoreflect.Message {
	m := dynamicpb.NewMessage(d)
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		switch {
		case f.IsList() && f.Message() != nil:
			m.Mutable(f).List().Append(protoreflect.ValueOfMessage(filled(f.Message(), depth-1)))
		case f.IsList():
			m.Mutable(f).List().Append(protoreflect.ValueOfString("text"))
		case f.Message() != nil && depth > 0:
			m.Set(f, protoreflect.ValueOfMessage(filled(f.Message(), depth-1)))
		}
	}
	return m
}

func shape(out io.Writer, indent string, v any) {
	object, ok := v.(map[string]any)
	if !ok {
		return
	}
	var keys []string
	for k := range object {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		value, list := object[k], ""
		if items, ok := value.([]any); ok {
			value, list = items[0], "list of "
		}
		kind := map[bool]string{true: "object"}[isObject(value)]
		if kind == "" {
			kind = fmt.Sprintf("%T", value)
		}
		fmt.Fprintf(out, "%s%s: %s%s\n", indent, k, list, strings.Replace(kind, "float64", "number", 1))
		shape(out, indent+"  ", value)
	}
}

func isObject(v any) bool { _, ok := v.(map[string]any); return ok }

func contains(s string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(s, p) })
}

// TestGRPC: the same socket speaks gRPC.
func TestGRPC(t *testing.T) {
	node := &fakeNode{text: "here", err: channel.Faultf(channel.CodeNotReady, "starting").WithHint("Wait.")}
	_, _, socket := serve(t, node)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	c := runnelv1connect.NewWalletServiceClient(&http.Client{Transport: transport}, "http://localhost", connect.WithGRPC())
	_, err := c.NewAddress(deadline(t), connect.NewRequest(&runnelv1.NewAddressRequest{}))
	var wire *connect.Error
	if !errors.As(err, &wire) || wire.Code() != connect.CodeUnavailable || len(wire.Details()) != 1 {
		t.Errorf("%v", err)
	}
	node.err = nil
	res, err := c.NewAddress(deadline(t), connect.NewRequest(&runnelv1.NewAddressRequest{}))
	if err != nil || res.Msg.GetAddress() != "here" {
		t.Errorf("%v %v", res, err)
	}
}

// TestRealCurl runs what docs/api.md tells people to run, with the program that they have.
func TestRealCurl(t *testing.T) {
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	node := &fakeNode{bal: channel.Balance{Onchain: 5}, watch: func(_ context.Context, since uint64, fn func(channel.Event) error) error {
		return fn(channel.Event{Seq: since + 1, Kind: channel.EventAlert})
	}}
	_, _, socket := serve(t, node)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(deadline(t), path, append([]string{"-sS", "--unix-socket", socket}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	got := run("-H", "Content-Type: application/json", "http://localhost/runnel.v1.WalletService/GetBalance", "-d", "{}")
	if want := `{"onchain_sat":5,"pending_sat":0,"locked_sat":0,"channel_local_msat":0,"channel_remote_msat":0}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := run("-N", "http://localhost/events?since=6"); !contains(got, `{"seq":7,`, `"kind":"alert"`, `"payment":null`) {
		t.Errorf("events: %s", got)
	}
}
