package gateway

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// mppVectors are those of the scheme's other implementations.
type mppVectors struct {
	Secret           string `json:"hmacSecretHex"`
	Canonicalization []struct {
		Name, Input, Canonical string
		Error                  bool
	}
	Base64url []struct {
		Name, Encoded, DecodedHex string
		Canonical, Error          bool
	}
	ChallengeHeaders []struct {
		Name, Header   string
		Params, Parsed Challenge
	}
	ChallengeLists []struct {
		Name, Header string
		Challenges   []Challenge
		Error        bool
	}
	ChallengeIDs []struct {
		Name, HmacInput string
		Params          Challenge
	} `json:"challengeIds"`
	Credentials []struct {
		Name, CredentialJSON, Header string
		Error                        bool
	}
	Receipts []struct{ Name, ReceiptJSON, Header string }
}

func loadVectors(t *testing.T) *mppVectors {
	t.Helper()
	b, err := os.ReadFile("../../shared/vectors/mpp/vectors.json")
	if os.IsNotExist(err) {
		t.Skip("../shared/vectors/mpp is not there")
	}
	v := new(mppVectors)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Canonicalization) == 0 || len(v.Base64url) == 0 || len(v.ChallengeHeaders) == 0 || len(v.ChallengeLists) == 0 ||
		len(v.ChallengeIDs) == 0 || len(v.Credentials) == 0 || len(v.Receipts) == 0 {
		t.Fatal("the vectors have changed their form")
	}
	return v
}

func TestVectorsOfTheScheme(t *testing.T) {
	v := loadVectors(t)
	for _, c := range v.Canonicalization {
		t.Run("canonical/"+c.Name, func(t *testing.T) {
			got, err := Canonical(json.RawMessage(c.Input))
			if c.Error != (err != nil) || !c.Error && string(got) != c.Canonical {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
	for _, c := range v.Base64url {
		t.Run("base64url/"+c.Name, func(t *testing.T) {
			got, err := DecodeBase64(c.Encoded)
			if c.Error != (err != nil) || !c.Error && hex.EncodeToString(got) != c.DecodedHex {
				t.Errorf("got %x, %v", got, err)
			}
			if c.Canonical && EncodeBase64(got) != c.Encoded {
				t.Errorf("encodes as %s", EncodeBase64(got))
			}
		})
	}
	for _, c := range v.Receipts {
		t.Run("receipt/"+c.Name, func(t *testing.T) {
			if got := EncodeBase64([]byte(c.ReceiptJSON)); got != c.Header {
				t.Errorf("got %s", got)
			}
			r, err := ParseReceipt(c.Header)
			if strings.Contains(c.ReceiptJSON, `"status"`) && (err != nil || !strings.Contains(c.ReceiptJSON, r.Reference) || r.Method != "lightning") {
				t.Errorf("parsed as %+v, %v", r, err)
			}
		})
	}
	t.Run("challenge", func(t *testing.T) { checkChallengeVectors(t, v) })
	t.Run("credential", func(t *testing.T) { checkCredentialVectors(t, v) })
}

func checkChallengeVectors(t *testing.T, v *mppVectors) {
	for _, c := range v.ChallengeHeaders {
		got, err := c.Params.Header()
		if err != nil || got != c.Header {
			t.Errorf("%s: written as %s, %v", c.Name, got, err)
		}
		list, err := ParseChallenges(c.Header)
		if err != nil || len(list) != 1 || list[0] != c.Parsed {
			t.Errorf("%s: read as %+v, %v", c.Name, list, err)
		}
	}
	for _, c := range v.ChallengeLists {
		list, err := ParseChallenges(c.Header)
		if c.Error != (err != nil) || !c.Error && !reflect.DeepEqual(list, c.Challenges) {
			t.Errorf("%s: read as %+v, %v", c.Name, list, err)
		}
	}
	secret, err := hex.DecodeString(v.Secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range v.ChallengeIDs {
		if got := EncodeBase64(challengeCode(secret, &c.Params)); got != c.Params.ID {
			t.Errorf("%s: the id is %s", c.Name, got)
		}
	}
}

func checkCredentialVectors(t *testing.T, v *mppVectors) {
	for _, c := range v.Credentials {
		got, err := ParseCredential(c.Header)
		if c.Error {
			if err == nil {
				t.Errorf("%s: read as %+v", c.Name, got)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		want, err := Canonical(json.RawMessage(c.CredentialJSON))
		if err != nil {
			t.Fatal(err)
		}
		if header, err := got.Header(); err != nil || header != Scheme+" "+EncodeBase64(want) {
			t.Errorf("%s: written again as %s, %v", c.Name, header, err)
		}
		if _, token, _ := strings.Cut(c.Header, " "); EncodeBase64([]byte(c.CredentialJSON)) != token {
			t.Errorf("%s: the vector's own header differs", c.Name)
		}
	}
}
