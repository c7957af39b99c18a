package proxy

// Decoded is decoded, to fuzz.
var Decoded = decoded

// MemoryHeld returns how much is lent to bodies.
func (p *Proxy) MemoryHeld() int64 { return 2*p.memory.half - p.memory.left.Load() }
