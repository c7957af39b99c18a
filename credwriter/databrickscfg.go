package credwriter

import (
	"fmt"
	"strings"

	"patrol/rotator/pat"
)

// databrickscfg is a profile of .databrickscfg. It is made if it is missing,
// and so is the file. A token in another profile that Owner.Ours knows moves
// along, unless that profile belongs to another host.
type databrickscfg struct {
	owner   Owner
	profile string
}

// NewDatabrickscfg returns the profile of this name in the file at path; ""
// names the one that ReadProfile picks.
func NewDatabrickscfg(path, profile string, o Owner) *File {
	return &File{name: "databrickscfg", path: path, owner: o, create: true, format: databrickscfg{o, profile}}
}

// Set puts the token into the profile, and its host where that is missing.
func (d databrickscfg) Set(text []byte, token string, mayReplace func(hash string) bool) (Edit, error) {
	e, profile, err := d.begin(text)
	if err != nil {
		return Edit{}, err
	}
	was := e.values()
	if err := d.permit(e, profile, token, mayReplace); err != nil {
		return Edit{}, err
	}
	if err := d.setProfile(e, profile, token); err != nil {
		return Edit{}, err
	}
	d.setOthers(e, was, profile, token)
	return e.result()
}

// Remove takes the tokens out that gone knows, with the lines they stand on, in
// all profiles. A profile without a token line is what all readers take best:
// an empty one counts as a way to sign in with some.
func (d databrickscfg) Remove(text []byte, gone func(hash string) bool) (Edit, error) {
	e, profile, err := d.begin(text)
	if err != nil {
		return Edit{}, err
	}
	for i := range e.sections {
		s := &e.sections[i]
		keep := s.keys[:0]
		for _, k := range s.keys {
			isToken := s.name != settings && strings.EqualFold(k.name, "token")
			switch ours := k.value != "" && gone(pat.Hash(k.value)); {
			case ours && isToken:
				if e.remove(&k) {
					continue
				}
			case ours:
				e.leaveElsewhere(fmt.Sprintf("%s of profile %s", pat.Redact(k.name), pat.Redact(s.name)))
			case isToken && s.name == profile && k.value != "":
				e.leave("the token of profile %s isn't one that patrol made", pat.Redact(s.name))
			}
			keep = append(keep, k)
		}
		s.keys = keep
	}
	if len(e.splices) == 0 {
		return Edit{Left: e.left}, nil
	}
	return e.result()
}

func (databrickscfg) Values(text []byte) (values []string, err error) {
	f, err := parseINI(text)
	if err != nil {
		return nil, err
	}
	for _, s := range f.sections {
		for _, k := range s.keys {
			values = append(values, k.value)
		}
	}
	return values, nil
}

// begin reads a text, and which of its profiles is meant.
func (d databrickscfg) begin(text []byte) (e *iniEdit, profile string, err error) {
	f, err := parseINI(text)
	if err != nil {
		return nil, "", err
	}
	profile, err = pickProfile(f.values(), d.profile)
	return &iniEdit{iniFile: f}, profile, err
}

// permit reports why the token may not be written into the profile.
func (d databrickscfg) permit(e *iniEdit, profile, token string, mayReplace func(hash string) bool) error {
	own := e.values()[profile]
	if method := otherAuth(own); method != "" {
		return fmt.Errorf("profile %s signs in by %s, and the Databricks tools take no token beside that: use another profile, such as --profile patrol", profile, method)
	}
	for _, k := range e.keys(profile) {
		// To Python a line added in small letters would be the same key again,
		// and then it reads nothing of the file.
		if small := strings.ToLower(k.name); small != k.name && (small == "token" || small == "host") && own[small] == "" {
			return fmt.Errorf("profile %s has the key %s, which Go's tools don't read: write it in small letters", profile, k.name)
		}
		// Which of several is read depends on the reader.
		if k.name == "host" && k.value != "" && !d.isHere(k.value, own["workspace_id"]) {
			host := pat.Redact(k.value)
			return fmt.Errorf("profile %s belongs to %s, not to %s: use another profile, such as --profile patrol, or --host %s", profile, host, d.owner.Host, host)
		}
	}
	if t := own["token"]; t != "" && t != token && own["host"] == "" && !d.owner.ours(t) {
		return fmt.Errorf("profile %s has a token that patrol doesn't know and no host that says where it belongs: add host = %s if it is that workspace's, or use another profile, such as --profile patrol", profile, d.owner.Host)
	}
	for _, k := range e.keys(profile) {
		if k.name == "token" && k.value != "" && k.value != token && mayReplace != nil && !mayReplace(pat.Hash(k.value)) {
			return fmt.Errorf("profile %s holds %w: patrol takes it over once the workspace accepts it, and replaces it once the workspace calls it invalid; to have patrol's own there now, delete its token line", profile, pat.ErrForeign)
		}
	}
	return nil
}

// isHere reports whether a profile's host is this workspace.
func (d databrickscfg) isHere(host, workspaceID string) bool {
	h, err := pat.ParseHost(host)
	if h.Workspace == "" {
		h.Workspace = workspaceID
	}
	return err == nil && h.MaySame(d.owner.Host)
}

// setProfile puts the token into the profile.
func (d databrickscfg) setProfile(e *iniEdit, profile, token string) error {
	wanted := []setting{{"host", d.owner.Host.String()}, {"token", token}}
	if e.section(profile) == nil {
		return e.addSection(profile, wanted)
	}
	var missing []setting
	for _, w := range wanted {
		found := false
		for _, k := range e.keys(profile) {
			if k.name != w.name {
				continue
			}
			found = true
			if k.name == "host" && k.value != "" {
				continue
			}
			if err := e.set(k, w.value); err != nil {
				return err
			}
		}
		if !found {
			missing = append(missing, w)
		}
	}
	return e.add(profile, missing)
}

// setOthers moves our own tokens in other profiles along: they are about to be
// revoked. A profile that signs in by other means has the new one put in the
// old one's place too; nothing else changes for it.
func (d databrickscfg) setOthers(e *iniEdit, was values, profile, token string) {
	for _, s := range e.sections {
		for i := range s.keys {
			k := &s.keys[i]
			if !d.owner.ours(k.value) || k.value == token || s.name == profile && k.name == "token" {
				continue
			}
			where := fmt.Sprintf("%s of profile %s", pat.Redact(k.name), pat.Redact(s.name))
			host := was[s.name]["host"]
			switch {
			case s.name == settings || !strings.EqualFold(k.name, "token"):
				e.leaveElsewhere(where)
			case host != "" && !d.isHere(host, was[s.name]["workspace_id"]):
				e.leave("%s holds one of patrol's tokens beside another host, %s", where, pat.Redact(host))
			case e.set(k, token) != nil:
				e.leave("%s holds one of patrol's tokens, over several lines: write it on one", where)
			}
		}
	}
}
