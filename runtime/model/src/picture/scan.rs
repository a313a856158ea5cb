//! Whether the coded data of a JPEG are whole: its codes are read as ITU-T T.81 annexes F and G have them, without any pixels. Decoders
//! make grey of what is missing, and colours of what is wrong.

/// What is wrong with the coded data of a JPEG whose segments are whole, if something is. A picture that this cannot follow is not judged.
pub(super) fn damage(bytes: &[u8]) -> Option<String> {
    judge(bytes)?.err()
}

/// Whether the coded data of a JPEG are whole, up to its end marker; nothing of a picture that this cannot follow.
pub(super) fn judge(bytes: &[u8]) -> Option<Result<(), String>> {
    let mut picture = Picture::default();
    let mut at = 2;
    loop {
        // Behind the end of a scan nothing but a marker follows; fill bytes may stand before it.
        at += bytes.get(at..)?.iter().position(|&b| b == 0xff)?;
        while *bytes.get(at)? == 0xff {
            at += 1;
        }
        let marker = bytes[at];
        at += 1;
        if matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8) {
            continue;
        }
        if marker == 0xd9 {
            return Some(Ok(()));
        }
        let length = usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])).max(2);
        let body = bytes.get(at + 2..at + length)?;
        at += length;
        match marker {
            0xc0..=0xc2 => picture.begin(marker, body)?,
            0xc4 => picture.take_tables(body)?,
            0xdd => picture.restart = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?])),
            0xda => {
                let mut bits = Bits::new(&bytes[at..]);
                let lines = picture.height;
                if let Err(block) = picture.scan(body, &mut bits)? {
                    let line = (block.row * block.lines).min(lines.saturating_sub(1));
                    return Some(Err(format!("its coded data are damaged near byte {}, line {line} of {lines}", at + bits.at)));
                }
                at += bits.at;
            }
            _ => {}
        }
    }
}

#[derive(Default)]
struct Picture {
    width: usize,
    height: usize,
    progressive: bool,
    components: Vec<Component>,
    /// Of DC, then of AC coefficients.
    tables: [[Option<Table>; 4]; 2],
    /// MCUs between restart markers, 0 for none.
    restart: usize,
}

struct Component {
    id: u8,
    across: usize,
    down: usize,
    /// Blocks of the component alone, and with those that fill the last MCUs up.
    blocks: [usize; 2],
    columns: usize,
    /// Which coefficients of each block are not zero, in a progressive picture.
    known: Vec<u64>,
}

/// Where a code is none.
struct Block {
    row: usize,
    /// Lines of the picture that a row of blocks stands for.
    lines: usize,
}

/// Bytes of any kind that may stand between the last block of a scan and its end, as padding does; of damaged codes more are left over.
const SPARE: usize = 3;

/// For each 16 bits that may come next, the bits of the code at their front and its value; no bits where there is no such code.
struct Table(Vec<(u8, u8)>);

impl Picture {
    fn begin(&mut self, marker: u8, body: &[u8]) -> Option<()> {
        let &[8, y1, y0, x1, x0, count, ref rest @ ..] = body else { return None };
        (self.width, self.height) = (usize::from(x1) << 8 | usize::from(x0), usize::from(y1) << 8 | usize::from(y0));
        self.progressive = marker == 0xc2;
        let parts: Vec<[u8; 3]> = rest.chunks_exact(3).take(count.into()).map(|part| [part[0], part[1], part[2]]).collect();
        let factors = |part: &[u8; 3]| (usize::from(part[1] >> 4), usize::from(part[1] & 15));
        if self.width == 0
            || self.height == 0
            || parts.is_empty()
            || parts.iter().any(|p| matches!(factors(p), (0 | 5.., _) | (_, 0 | 5..)))
        {
            return None;
        }
        let most = parts.iter().map(factors).fold((1, 1), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        let mcus = [self.width.div_ceil(8 * most.0), self.height.div_ceil(8 * most.1)];
        self.components = parts
            .iter()
            .map(|part| {
                let (across, down) = factors(part);
                let blocks = [(self.width * across).div_ceil(8 * most.0), (self.height * down).div_ceil(8 * most.1)];
                let known = if self.progressive { vec![0; mcus[0] * across * mcus[1] * down] } else { Vec::new() };
                Component { id: part[0], across, down, blocks, columns: mcus[0] * across, known }
            })
            .collect();
        Some(())
    }

    fn take_tables(&mut self, mut body: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = body {
            let counts = rest.get(..16)?;
            let total: usize = counts.iter().map(|c| usize::from(*c)).sum();
            let values = rest.get(16..16 + total)?;
            let slot = self.tables.get_mut(usize::from(kind >> 4))?.get_mut(usize::from(kind & 15))?;
            *slot = Some(Table::new(counts, values)?);
            body = &rest[16 + total..];
        }
        Some(())
    }

    /// Reads a scan; none if it is of a kind that is not followed.
    fn scan(&mut self, header: &[u8], bits: &mut Bits) -> Option<Result<(), Block>> {
        let count = usize::from(*header.first()?);
        let &[start, end, approximation] = header.get(1 + 2 * count..4 + 2 * count)? else { return None };
        let mut parts = Vec::with_capacity(count);
        for part in header[1..1 + 2 * count].chunks_exact(2) {
            let index = self.components.iter().position(|c| c.id == part[0])?;
            parts.push((index, usize::from(part[1] >> 4), usize::from(part[1] & 15)));
        }
        let band = Band { start: start.into(), end: end.into(), refines: approximation >> 4 > 0, progressive: self.progressive };
        if !self.progressive && (band.start, band.end) != (0, 63) || band.end > 63 || band.start > band.end || parts.is_empty() {
            return None;
        }
        let lines = |c: &Component, down: usize| (self.height / c.blocks[1].max(1)).max(1) * down;
        let single = count == 1;
        let first = &self.components[parts[0].0];
        let rows_px = if single { lines(first, 1) } else { lines(first, first.down) };
        let [across, down] = if single { first.blocks } else { [first.columns / first.across, first.blocks[1].div_ceil(first.down)] };
        let tables = |kind: usize, at: usize| self.tables[kind].get(at).and_then(Option::as_ref);
        let needs = [band.start == 0 && !(band.progressive && band.refines), band.end > 0];
        for (_, dc, ac) in &parts {
            if needs[0] && tables(0, *dc).is_none() || needs[1] && tables(1, *ac).is_none() {
                return None;
            }
        }
        let (mut run, mut markers) = (0, 0);
        for mcu in 0..across * down {
            let (column, row) = (mcu % across, mcu / across);
            let wrong = Block { row, lines: rows_px };
            if self.restart > 0 && mcu > 0 && mcu % self.restart == 0 {
                if !bits.restart(markers) {
                    return Some(Err(wrong));
                }
                (run, markers) = (0, (markers + 1) % 8);
            }
            for (index, dc, ac) in &parts {
                let component = &mut self.components[*index];
                let [wide, high] = if single { [1, 1] } else { [component.across, component.down] };
                for block in 0..wide * high {
                    let at = (row * high + block / wide) * component.columns + column * wide + block % wide;
                    let mut none = 0;
                    let known = component.known.get_mut(at).unwrap_or(&mut none);
                    let tables = [self.tables[0].get(*dc).and_then(Option::as_ref), self.tables[1].get(*ac).and_then(Option::as_ref)];
                    if band.block(bits, tables, known, &mut run).is_none() {
                        return Some(Err(wrong));
                    }
                }
            }
        }
        Some(if bits.is_at_end(SPARE) { Ok(()) } else { Err(Block { row: down.saturating_sub(1), lines: rows_px }) })
    }
}

/// What a scan holds of each block.
struct Band {
    start: usize,
    end: usize,
    refines: bool,
    progressive: bool,
}

impl Band {
    /// Reads the codes of one block; none if one of them is none, or leads out of the block.
    fn block(&self, bits: &mut Bits, [dc, ac]: [Option<&Table>; 2], known: &mut u64, run: &mut u32) -> Option<()> {
        let mut at = self.start;
        if at == 0 {
            match (self.refines && self.progressive, dc) {
                (true, _) => drop(bits.take(1)?),
                (false, table) => {
                    let size = bits.code(table?)?;
                    bits.take((size <= 15).then_some(size.into())?)?;
                }
            }
            at = 1;
        }
        if self.end == 0 {
            return Some(());
        }
        let ac = ac?;
        if self.refines && self.progressive {
            return self.refine(bits, ac, known, run, at);
        }
        if *run > 0 {
            *run -= 1;
            return Some(());
        }
        while at <= self.end {
            let code = bits.code(ac)?;
            let (zeros, size) = (usize::from(code >> 4), u32::from(code & 15));
            if size == 0 {
                if zeros < 15 {
                    // A run of blocks that end here, in progressive pictures.
                    *run = if self.progressive { (1 << zeros) - 1 + bits.take(zeros as u32)? } else { 0 };
                    return if self.progressive || zeros == 0 { Some(()) } else { None };
                }
                at += 16;
                continue;
            }
            at += zeros;
            if at > self.end {
                return None;
            }
            bits.take(size)?;
            *known |= 1 << at;
            at += 1;
        }
        (at <= self.end + 1).then_some(())
    }

    /// Bits more of coefficients that are known, and coefficients that were zero so far.
    fn refine(&self, bits: &mut Bits, ac: &Table, known: &mut u64, run: &mut u32, mut at: usize) -> Option<()> {
        if *run == 0 {
            while at <= self.end {
                let code = bits.code(ac)?;
                let (mut zeros, size) = (u32::from(code >> 4), code & 15);
                if size > 1 {
                    return None;
                }
                if size == 0 && zeros < 15 {
                    *run = (1 << zeros) + bits.take(zeros)?;
                    break;
                }
                if size == 1 {
                    bits.take(1)?;
                }
                while at <= self.end {
                    if *known >> at & 1 == 1 {
                        bits.take(1)?;
                    } else if zeros == 0 {
                        break;
                    } else {
                        zeros -= 1;
                    }
                    at += 1;
                }
                if size == 1 {
                    if at > self.end {
                        return None;
                    }
                    *known |= 1 << at;
                }
                at += 1;
            }
        }
        if *run > 0 {
            let left = (at..=self.end).filter(|at| *known >> at & 1 == 1).count();
            (0..left).try_for_each(|_| bits.take(1).map(drop))?;
            *run -= 1;
        }
        Some(())
    }
}

impl Table {
    fn new(counts: &[u8], values: &[u8]) -> Option<Self> {
        let (mut codes, mut next, mut values) = (vec![(0, 0); 1 << 16], 0usize, values.iter());
        for (length, count) in (1u8..).zip(counts) {
            for value in values.by_ref().take((*count).into()) {
                let span = 1 << (16 - length);
                codes.get_mut(next..next + span)?.fill((length, *value));
                next += span;
            }
        }
        Some(Self(codes))
    }
}

/// Bits up to the next marker, stuffed zeros left out.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, held: 0, count: 0 }
    }

    /// The next byte of coded data.
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        if byte == 0xff {
            if *self.bytes.get(self.at + 1)? != 0 {
                return None;
            }
            self.at += 1;
        }
        self.at += 1;
        Some(byte)
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let Some(byte) = self.byte() else { break };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        if self.count < count {
            self.fill();
        }
        self.count = self.count.checked_sub(count)?;
        Some((self.held >> self.count & ((1 << count) - 1)) as u32)
    }

    fn code(&mut self, table: &Table) -> Option<u8> {
        if self.count < 16 {
            self.fill();
        }
        let next = if self.count >= 16 { self.held >> (self.count - 16) } else { self.held << (16 - self.count) } & 0xffff;
        let (length, value) = table.0[next as usize];
        self.count = self.count.checked_sub(length.into()).filter(|_| length > 0)?;
        Some(value)
    }

    /// Goes on behind the restart marker of this number, if it comes next.
    fn restart(&mut self, number: u8) -> bool {
        let ends = self.is_at_end(0);
        (self.held, self.count) = (0, 0);
        while self.bytes.get(self.at..self.at + 2) == Some(&[0xff, 0xff]) {
            self.at += 1;
        }
        let comes = self.bytes.get(self.at..self.at + 2) == Some(&[0xff, 0xd0 + number]);
        self.at += 2;
        ends && comes
    }

    /// Whether a marker comes next, behind nothing but what fills bytes up, or so many others. Some encoders fill more than the last one.
    fn is_at_end(&mut self, spare: usize) -> bool {
        let left = self.count / 8;
        let rest = self.held & ((1 << (8 * left)) - 1);
        let mut extra: Vec<u8> = (0..left).map(|i| (rest >> (8 * i)) as u8).collect();
        self.count = 0;
        while let Some(byte) = self.byte() {
            extra.push(byte);
        }
        extra.len() <= spare || extra.iter().all(|byte| *byte == extra[0] && matches!(byte, 0x00 | 0xff))
    }
}
