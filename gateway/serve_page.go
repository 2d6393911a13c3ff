package gateway

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"rsc.io/qr"
)

// unlockPath is where a page is paid: a program pays for UNLOCK/TOKEN as for the resource, and the browser, which
// can't, asks for UNLOCK/TOKEN/state until that was done.
const unlockPath = "/.well-known/runnel/unlock/"

// unlockLife is how long a page can be paid, and used when it was.
const unlockLife = 15 * time.Minute

// maxUnlocks bounds the pages that wait; with more, the oldest have to be loaded again. Those that are paid, or being
// paid, stay: they cost more than memory.
const maxUnlocks = 10_000

// unlocked are the pages that wait for payment or were paid. Safe for concurrent use.
type unlocked struct {
	mu    sync.Mutex
	pages map[string]*unlockPage
	order []string
}

type unlockPage struct {
	target string
	until  time.Time
	taken  bool // somebody pays
	paid   bool
}

func (u *unlocked) add(target string, now time.Time) string {
	token := rand.Text()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pages == nil {
		u.pages = map[string]*unlockPage{}
	}
	u.order = slices.DeleteFunc(u.order, func(old string) bool {
		p := u.pages[old]
		over := p == nil || now.After(p.until) || len(u.pages) >= maxUnlocks && !p.taken && !p.paid
		if over {
			delete(u.pages, old)
		}
		return over
	})
	u.pages[token], u.order = &unlockPage{target: target, until: now.Add(unlockLife)}, append(u.order, token)
	return token
}

// get returns a page that did not end.
func (u *unlocked) get(token string, now time.Time) (page unlockPage, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.pages[token]
	if p == nil || now.After(p.until) {
		return unlockPage{}, false
	}
	return *p, true
}

// take lets one payer at a time pay for a page; paid says what came of it.
func (u *unlocked) take(token string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.pages[token]
	if p == nil || p.taken {
		return false
	}
	p.taken = true
	return true
}

func (u *unlocked) paid(token string, paid bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if p := u.pages[token]; p != nil {
		p.taken, p.paid = paid, paid
	}
}

// use spends a paid page: once.
func (u *unlocked) use(token, target string, now time.Time) (page *unlockPage, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.pages[token]
	if p == nil || !p.paid || p.target != target || now.After(p.until) {
		return nil, false
	}
	delete(u.pages, token)
	return p, true
}

// restore takes a use back: the service had no answer that is paid for.
func (u *unlocked) restore(token string, p *unlockPage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pages[token] = p
	if !slices.Contains(u.order, token) {
		u.order = append(u.order, token)
	}
}

const unlockCookie = "runnel-unlock"

// paidByPage serves a browser whose page was paid with a program.
func (v *visit) paidByPage() bool {
	c, err := v.r.Cookie(unlockCookie)
	if err != nil || v.r.Method != http.MethodGet {
		return false
	}
	page, ok := v.g.unlocked.use(c.Value, v.r.RequestURI, v.plan.Now())
	if !ok {
		return false
	}
	v.w.Header().Set("Cache-Control", "private")
	if status := v.pass(OutcomePaid); status != 0 && !charged(status) {
		v.g.unlocked.restore(c.Value, page)
	}
	return true
}

//go:embed page.html
var pageText string

// pageTemplate is parsed when the first browser comes.
var pageTemplate = sync.OnceValue(func() *template.Template { return template.Must(template.New("page").Parse(pageText)) })

type pageData struct {
	Realm, Description, Price, Command, State string
	Link, QR                                  template.URL // made here, from escaped parts
}

// page asks a person to pay.
func (v *visit) page() {
	d := pageData{Realm: v.plan.Realm, Description: v.route.Description, Price: v.route.Price.String()}
	pay := v.r.RequestURI
	if v.route.Price.Unit == UnitRequest {
		token := v.g.unlocked.add(v.r.RequestURI, v.plan.Now())
		pay, d.State = unlockPath+token, unlockPath+token+"/state"
		http.SetCookie(v.w, &http.Cookie{Name: unlockCookie, Value: token, Path: v.r.URL.EscapedPath(), MaxAge: int(unlockLife / time.Second),
			HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: v.secure()})
	}
	where := (&url.URL{Scheme: map[bool]string{true: "https", false: "http"}[v.secure()], Host: v.r.Host}).String() + pay
	d.Link, d.Command = template.URL("runnel:fetch?url="+url.QueryEscape(where)), "runnel fetch '"+strings.ReplaceAll(where, "'", "%27")+"'"
	if code, err := qr.Encode(string(d.Link), qr.M); err == nil {
		d.QR = template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(code.PNG()))
	}
	var body bytes.Buffer
	if err := pageTemplate().Execute(&body, &d); err != nil {
		writeProblem(v.w, v.r, ProblemPaymentRequired.Problem("this costs %s", d.Price))
		return
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	v.w.WriteHeader(http.StatusPaymentRequired)
	_, _ = v.w.Write(body.Bytes())
}

func (v *visit) secure() bool { return v.r.TLS != nil || v.plan.BehindTLS }

// unlock serves the two addresses of a page.
func (v *visit) unlock() {
	token, state := strings.CutSuffix(strings.TrimPrefix(v.r.URL.Path, unlockPath), "/state")
	page, ok := v.g.unlocked.get(token, v.plan.Now())
	if !ok {
		v.refuse(ProblemNotSold.Problem("this page has expired or was used: load it again"))
		return
	}
	target, err := url.ParseRequestURI(page.target)
	if err != nil {
		v.refuse(ProblemBadRequest.Problem("the page's address makes no sense"))
		return
	}
	r := *v.r
	r.URL, r.Method = target, http.MethodGet
	if v.route, err = v.plan.router.find(&r); err != nil || v.route == nil || v.route.Free || v.route.Price.Unit != UnitRequest {
		v.refuse(ProblemNotSold.Problem("the page is not sold any more: load it again"))
		return
	}
	if state {
		v.w.Header().Set("Content-Type", "application/json")
		v.w.Header().Set("Cache-Control", "no-store")
		_, _ = v.w.Write([]byte(`{"paid":` + strconv.FormatBool(page.paid) + "}\n"))
		return
	}
	v.payPage(token, page)
}

// payPage charges for a page whose browser waits.
func (v *visit) payPage(token string, page unlockPage) {
	sold := &route{Route: v.route.Route}
	sold.GiveBackBroken = false // the charge is in the books before the page opens
	sold.Upstream = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !v.g.unlocked.take(token) {
			http.Error(w, "Somebody else has paid for this page: nothing was charged.", http.StatusConflict)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusOK) // is the charge
		f, ok := w.(*fixed)
		v.g.unlocked.paid(token, ok && !f.dead)
		_, _ = w.Write([]byte("Paid. The page in the browser opens itself.\n"))
	})
	v.route = sold
	switch credential := v.r.Header.Get("Authorization"); {
	case page.paid:
		v.refuse(ProblemRepeated.Problem("this page is paid already; nothing was charged"))
	case isCredential(credential):
		v.withCredential(credential)
	default:
		v.demand(ProblemPaymentRequired.Problem("this costs %s", v.route.Price.String()), nil)
	}
}
