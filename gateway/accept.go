package gateway

import (
	"fmt"
	"strconv"
	"strings"
)

// AcceptPayment is what a client says it can pay with: method/intent with a weight, * for any.
type AcceptPayment []PaymentRange

// PaymentRange is one entry. Weight is in thousandths; 0 says never.
type PaymentRange struct {
	Method, Intent string
	Weight         int
}

// maxRanges bounds Accept-Payment.
const maxRanges = 64

// ParseAcceptPayment reads the header. An empty one says nothing, which accepts all.
func ParseAcceptPayment(header string) (AcceptPayment, error) {
	var list AcceptPayment
	for part := range strings.SplitSeq(header, ",") {
		if part = strings.Trim(part, " \t"); part == "" {
			continue
		}
		r, err := parseRange(part)
		if err != nil {
			return nil, err
		}
		if list = append(list, r); len(list) > maxRanges {
			return nil, fmt.Errorf("%s has more than %d entries", HeaderAcceptPayment, maxRanges)
		}
	}
	return list, nil
}

func parseRange(part string) (PaymentRange, error) {
	name, params, _ := strings.Cut(part, ";")
	method, intent, ok := strings.Cut(strings.Trim(name, " \t"), "/")
	if !ok || !isToken(method) || !isToken(intent) {
		return PaymentRange{}, fmt.Errorf("%s: %.40q is not METHOD/INTENT", HeaderAcceptPayment, part)
	}
	r := PaymentRange{Method: method, Intent: intent, Weight: 1000}
	for p := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(strings.Trim(p, " \t"), "=")
		if !strings.EqualFold(key, "q") {
			continue
		}
		if r.Weight, ok = parseWeight(value); !ok {
			return PaymentRange{}, fmt.Errorf("%s: %.20q is no weight", HeaderAcceptPayment, value)
		}
	}
	return r, nil
}

// parseWeight reads RFC 9110's qvalue: 0 to 1 with at most three decimals.
func parseWeight(s string) (int, bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 || strings.Trim(decimals, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(whole + decimals + "000"[len(decimals):])
	return n, err == nil && n <= 1000
}

// Accepts reports whether a client takes a method and intent: the most specific entry decides.
func (a AcceptPayment) Accepts(method, intent string) bool {
	if len(a) == 0 {
		return true
	}
	best, weight := -1, 0
	for _, r := range a {
		fit := 0
		if r.Method == method {
			fit += 2
		} else if r.Method != "*" {
			continue
		}
		if r.Intent == intent {
			fit++
		} else if r.Intent != "*" {
			continue
		}
		if fit > best {
			best, weight = fit, r.Weight
		}
	}
	return weight > 0
}
