package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
)

// maxPaidBody is the most of a request's body that is kept so that it can be sent again with its payment.
const maxPaidBody = 64 << 20

// parseURL takes what curl takes: a host alone means http.
func parseURL(s string) (*url.URL, error) {
	hint := "write it as https://HOST/PATH"
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, usage(hint, "%q is not a URL", s)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, usage(hint, "%s: only http and https are spoken here", u.Scheme)
	case u.Host == "":
		return nil, usage(hint, "%q names no host", s)
	}
	u.Fragment = ""
	return u, nil
}

// plainTransport is HTTP without payments.
func plainTransport(insecure bool, cacert string) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = 256 << 10
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: insecure}
	if cacert != "" {
		pem, err := os.ReadFile(cacert)
		if err != nil {
			return nil, usage("give a file with certificates in PEM", "%v", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, usage("give a file with certificates in PEM", "%s has no certificate", cacert)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return t, nil
}

// payload is what -d and its relatives say; nil without any.
type payload struct{ data []byte }

// body reads the data of all flags, joined as in a form.
func (c *call) body(f fetchFlags) (*payload, error) {
	var parts [][]byte
	for _, group := range []struct {
		values      []string
		files, keep bool
	}{{f.data, true, false}, {f.dataBinary, true, true}, {f.raw, false, true}} {
		for _, v := range group.values {
			part := []byte(v)
			if name, ok := strings.CutPrefix(v, "@"); ok && group.files {
				var err error
				if part, err = c.dataFile(name); err != nil {
					return nil, err
				}
				if !group.keep {
					part = bytes.ReplaceAll(bytes.ReplaceAll(part, []byte("\r"), nil), []byte("\n"), nil)
				}
			}
			parts = append(parts, part)
		}
	}
	if parts == nil {
		return nil, nil
	}
	return &payload{bytes.Join(parts, []byte("&"))}, nil
}

func (c *call) dataFile(name string) ([]byte, error) {
	in := c.in
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, usage("@FILE names a file, @- is standard input; --data-raw sends the @ itself", "%v", err)
		}
		defer file.Close()
		in = file
	}
	b, err := io.ReadAll(io.LimitReader(in, maxPaidBody+1))
	if err == nil && len(b) > maxPaidBody {
		err = usage("split it", "the data is longer than %d MiB", maxPaidBody>>20)
	}
	return b, err
}

// request makes the request for one URL.
func (c *call) request(f fetchFlags, target string, body *payload) (*http.Request, error) {
	u, err := parseURL(target)
	if err != nil {
		return nil, err
	}
	method := http.MethodGet
	var data io.Reader
	switch {
	case f.head:
		method = http.MethodHead
	case body != nil && f.get:
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += string(body.data)
	case body != nil:
		method, data = http.MethodPost, bytes.NewReader(body.data)
	}
	if f.method != "" {
		method = f.method
	}
	req, err := http.NewRequestWithContext(c.ctx, method, u.String(), data)
	if err != nil {
		return nil, usage("write a method such as POST", "%q is not a method", method)
	}
	if data != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("User-Agent", "runnel")
	req.Header.Set("Accept", "*/*")
	if f.agent != "" {
		req.Header.Set("User-Agent", f.agent)
	}
	return req, setHeaders(req, f.headers)
}

// setHeaders adds headers as curl does: "Name:" takes one away, "Name;" sends an empty one.
func setHeaders(req *http.Request, lines []string) error {
	seen := map[string]bool{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok && strings.HasSuffix(line, ";") {
			name, ok = strings.TrimSuffix(line, ";"), true
		} else if ok && value == "" {
			req.Header.Del(name)
			continue
		}
		key := http.CanonicalHeaderKey(strings.TrimSpace(name))
		switch {
		case !ok || key == "" || strings.ContainsAny(line, "\r\n"):
			return usage("write -H 'Name: value'", "%.40q is not a header", line)
		case key == "Host":
			req.Host = value
		case seen[key]:
			req.Header.Add(key, value)
		default:
			req.Header.Set(key, value)
		}
		seen[key] = true
	}
	return nil
}

// remoteName is the file that -O writes.
func remoteName(u *url.URL) (string, error) {
	name := path.Base(u.Path)
	if name == "." || name == "/" || name == ".." || strings.ContainsAny(name, "/\\\x00") || strings.HasPrefix(name, ".") {
		return "", usage("name one with -o FILE", "%s has no file name at its end", u.Redacted())
	}
	return name, nil
}
