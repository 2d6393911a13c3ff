package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gowebpki/jcs"
)

// maxDepth of JSON that others send us: what the scheme defines has a depth of four.
const maxDepth = 16

// Canonical is v as canonical JSON (RFC 8785).
func Canonical(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jcs.Transform(b)
}

// encodeObject is v as base64url of its canonical JSON. It is for our own values, which always have one.
func encodeObject(v any) (string, error) {
	b, err := Canonical(v)
	return EncodeBase64(b), err
}

// decodeObject reads base64url of a JSON object into v. Unknown members are ignored, doubled ones refused.
func decodeObject(s string, v any) error {
	b, err := DecodeBase64(s)
	if err != nil {
		return err
	}
	return decodeJSON(b, v)
}

func decodeJSON(b []byte, v any) error {
	if err := checkJSON(b); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// checkJSON refuses what encoding/json lets pass and two readers may read in two ways: doubled members, and
// nesting that is only there to cost.
func checkJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	if err := checkObject(d, 1); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON object")
	}
	return nil
}

func checkObject(d *json.Decoder, depth int) error {
	if depth > maxDepth {
		return errors.New("JSON is nested too deeply")
	}
	seen := make([]string, 0, 12)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return errNotJSON
		}
		key := name.(string)
		for _, s := range seen {
			if strings.EqualFold(s, key) { // encoding/json takes either for the other
				return fmt.Errorf("the member %.40q stands twice", key)
			}
		}
		if seen = append(seen, key); len(seen) > maxMembers {
			return errors.New("JSON has too many members")
		}
		if err := checkValue(d, depth); err != nil {
			return err
		}
	}
	return endOf(d)
}

var errNotJSON = errors.New("not JSON")

// maxMembers of an object: far above what the scheme defines, and the doubles are still quickly found.
const maxMembers = 64

func checkValue(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return errNotJSON
	}
	switch t {
	case json.Delim('{'):
		return checkObject(d, depth+1)
	case json.Delim('['):
		if depth >= maxDepth {
			return errors.New("JSON is nested too deeply")
		}
		for d.More() {
			if err := checkValue(d, depth+1); err != nil {
				return err
			}
		}
		return endOf(d)
	}
	return nil
}

func endOf(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return errNotJSON
	}
	return nil
}
