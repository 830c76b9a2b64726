"use strict";
// The table of units: filter, sort, look into. Everything that a run wrote is set as text, never as markup.
(() => {
  const PAGE = 100;
  const NO = -1;
  const STATUSES = ["ok", "failed", "timeout", "crashed", "out_of_memory", "infra", "cancelled", "not_run"];
  const byId = (id) => document.getElementById(id);

  async function unpack(id) {
    const bytes = Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function make(name, text, attributes) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    return element;
  }

  function seconds(value) {
    if (value < 0) return "-";
    if (value === 0) return "0 s";
    if (value < 0.0995) return Math.round(value * 1000) + " ms";
    if (value < 9.95) return value.toFixed(1) + " s";
    if (value < 60) return Math.round(value) + " s";
    if (value < 3600) return Math.floor(value / 60) + " min " + Math.floor(value % 60) + " s";
    return Math.floor(value / 3600) + " h " + Math.floor((value % 3600) / 60) + " min";
  }

  const yesNo = (value) => (value === NO ? "-" : value ? "yes" : "no");
  const count = (value) => value.toLocaleString("en");

  function table(data) {
    const texts = data.texts;
    const of = (column, row) => column.texts[column.column[row]];
    const name = (row) => of(texts.shard, row) + "/" + of(texts.task, row) + "#" + data.repeat[row];
    const address = (row) => (data.several ? of(texts.run, row) + " " : "") + name(row);
    const error = (row) => (data.clusters.column[row] === NO ? "" : data.clusters.texts[data.clusters.column[row]]);
    const collator = new Intl.Collator("en", { numeric: true });

    // What is shown of a unit: title, text, and how to sort by it. `by` gives numbers, or `texts` a column of texts.
    const shown = [
      { title: "unit", text: name, key: "unit" },
      ...(data.several ? [{ title: "run", text: (row) => of(texts.run, row), texts: texts.run }] : []),
      { title: "type", text: (row) => of(texts.type, row), texts: texts.type },
      ...data.factors.map((factor) => ({ title: factor.name, text: (row) => of(factor, row), texts: factor })),
      { title: "lane", text: (row) => of(texts.lane, row) || "none", texts: texts.lane },
      { title: "status", text: (row) => of(texts.status, row), by: (row) => STATUSES.indexOf(of(texts.status, row)), status: true },
      { title: "success", text: (row) => yesNo(data.success[row]), by: (row) => data.success[row] },
      ...(data.score
        ? [{ title: "score", text: (row) => (data.score[row] === null ? "-" : String(+data.score[row].toPrecision(4))), by: (row) => (data.score[row] === null ? -Infinity : data.score[row]), number: true }]
        : []),
      { title: "worked", text: (row) => seconds(data.working_ms[row] / 1000), by: (row) => data.working_ms[row], number: true },
      { title: "waited", text: (row) => seconds(data.waiting_ms[row] / 1000), by: (row) => data.waiting_ms[row], number: true },
      { title: "attempts", text: (row) => String(data.attempts[row]), by: (row) => data.attempts[row], number: true },
      { title: "error", text: error, texts: data.clusters, wide: true },
    ].filter((column) => !(column.texts === texts.lane && texts.lane.texts.length < 2));

    const changed = (row) =>
      texts.status.column[row] !== undefined && of(texts.status, row) !== of(texts.first, row) ? of(texts.first, row) : "";

    // -- filters ---------------------------------------------------------------------------------------------
    const filters = byId("filters");
    const selects = [];

    function addSelect(title, options, matches) {
      if (options.length < 2) return null;
      const label = make("label", title);
      const select = make("select");
      select.append(make("option", "any", { value: "" }));
      options.forEach((text, place) => select.append(make("option", text || "none", { value: String(place) })));
      label.append(select);
      filters.append(label);
      selects.push({ select, matches });
      select.addEventListener("change", refresh);
      return select;
    }

    const searchLabel = make("label", "text");
    const search = make("input", undefined, { type: "search", autocomplete: "off", spellcheck: "false" });
    searchLabel.append(search);
    filters.append(searchLabel);
    const same = (column) => (row, place) => column.column[row] === place;
    if (data.several) addSelect("run", texts.run.texts, same(texts.run));
    addSelect("status", texts.status.texts, same(texts.status));
    addSelect("first outcome", texts.first.texts, same(texts.first));
    addSelect("success", ["no", "yes", "not known"], (row, place) => data.success[row] === (place === 2 ? NO : place));
    addSelect("type", texts.type.texts, same(texts.type));
    data.factors.forEach((factor) => addSelect(factor.name, factor.texts, same(factor)));
    addSelect("lane", texts.lane.texts, same(texts.lane));
    const clusterSelect = addSelect("error", ["", ...data.clusters.texts].map((text) => text || "no error"), (row, place) => data.clusters.column[row] === place - 1);
    const reset = make("button", "reset", { type: "button" });
    reset.addEventListener("click", () => {
      search.value = "";
      selects.forEach(({ select }) => { select.value = ""; });
      refresh();
    });
    filters.append(reset);
    filters.addEventListener("submit", (event) => event.preventDefault());
    let typing = 0;
    search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(refresh, 120);
    });

    // Each word must be in some text of the unit. Texts are looked at once each, not once a unit.
    const searched = [texts.run, texts.shard, texts.task, texts.type, texts.lane, texts.status, ...data.factors, data.clusters];
    const lowered = searched.map((column) => column.texts.map((text) => text.toLowerCase()));

    function wordMatcher(word) {
      if (word.includes("/") || word.includes("#")) {
        const inTexts = lowered.map((column) => column.map((text) => text.includes(word)));
        return (row) => name(row).toLowerCase().includes(word) || inTexts.some((hits, at) => hits[searched[at].column[row]]);
      }
      const hits = lowered.map((column) => column.map((text) => text.includes(word)));
      return (row) => hits.some((found, at) => found[searched[at].column[row]]);
    }

    // -- sort ------------------------------------------------------------------------------------------------
    let sorted = null;
    let down = false;
    let order = Array.from({ length: data.units }, (_, row) => row);

    function ranks(column) {
      if (column.key === "unit") {
        const shards = textRanks(texts.shard.texts);
        const tasks = textRanks(texts.task.texts);
        return (one, other) =>
          shards[texts.shard.column[one]] - shards[texts.shard.column[other]] ||
          tasks[texts.task.column[one]] - tasks[texts.task.column[other]] ||
          data.repeat[one] - data.repeat[other];
      }
      if (column.texts) {
        const places = textRanks(column.texts.texts);
        const rank = (row) => (column.texts.column[row] === NO ? NO : places[column.texts.column[row]]);
        return (one, other) => rank(one) - rank(other);
      }
      return (one, other) => column.by(one) - column.by(other);
    }

    function textRanks(list) {
      const places = list.map((_, place) => place).sort((one, other) => collator.compare(list[one], list[other]));
      const found = new Uint32Array(list.length);
      places.forEach((place, rank) => { found[place] = rank; });
      return found;
    }

    function sortBy(column) {
      down = sorted === column ? !down : Boolean(column.number);
      sorted = column;
      const compare = ranks(column);
      order = Array.from({ length: data.units }, (_, row) => row);
      order.sort((one, other) => (down ? compare(other, one) : compare(one, other)) || one - other);
      heads.forEach(({ head, mark, column: each }) => {
        if (each === sorted) head.setAttribute("aria-sort", down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
        mark.textContent = each === sorted ? (down ? " ▼" : " ▲") : "";
      });
      refresh();
    }

    const heads = shown.map((column) => {
      const head = make("th", undefined, { scope: "col", ...(column.number ? { class: "n" } : {}) });
      const button = make("button", column.title, { type: "button" });
      const mark = make("span", "", { "aria-hidden": "true" });
      button.append(mark);
      button.addEventListener("click", () => sortBy(column));
      head.append(button);
      return { head, mark, column };
    });
    byId("titles").replaceChildren(...heads.map(({ head }) => head));

    // -- rows ------------------------------------------------------------------------------------------------
    let found = order;
    let page = 0;

    function refresh() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean).map(wordMatcher);
      const chosen = selects.filter(({ select }) => select.value !== "").map(({ select, matches }) => [matches, Number(select.value)]);
      found = order.filter((row) => chosen.every(([matches, place]) => matches(row, place)) && words.every((matches) => matches(row)));
      page = 0;
      draw();
    }

    function draw() {
      const pages = Math.max(1, Math.ceil(found.length / PAGE));
      byId("count").textContent = count(found.length) + " of " + count(data.units) + " units";
      byId("page").textContent = "page " + count(page + 1) + " of " + count(pages);
      byId("earlier").disabled = page === 0;
      byId("later").disabled = page + 1 >= pages;
      byId("rows").replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(line));
    }

    function line(row) {
      const tr = make("tr");
      shown.forEach((column) => {
        const td = make("td", undefined, { class: column.number ? "n" : column.wide ? "wide" : column.key || "whole" });
        if (column.key === "unit") {
          const button = make("button", column.text(row), { type: "button", class: "open" });
          button.addEventListener("click", () => show(row));
          td.append(button);
        } else if (column.status) {
          td.append(make("span", "", { class: "mark-of s-" + column.text(row), "aria-hidden": "true" }), column.text(row));
          if (changed(row)) td.append(make("span", " (first " + changed(row) + ")", { class: "faint" }));
        } else td.textContent = column.text(row);
        tr.append(td);
      });
      return tr;
    }

    const turn = (step) => () => {
      page += step;
      draw();
      byId("units").focus({ preventScroll: true });
    };
    byId("earlier").addEventListener("click", turn(-1));
    byId("later").addEventListener("click", turn(1));

    document.querySelectorAll("button.list").forEach((button) => {
      if (clusterSelect === null) return;
      button.hidden = false;
      button.addEventListener("click", () => {
        search.value = "";
        selects.forEach(({ select }) => { select.value = ""; });
        clusterSelect.value = String(Number(button.dataset.cluster) + 1);
        refresh();
        byId("units").scrollIntoView();
        byId("units").focus({ preventScroll: true });
      });
    });

    document.querySelectorAll(".example").forEach((each) => {
      const row = Number(each.dataset.row);
      if (row === NO) return;
      const button = make("button", each.textContent, { type: "button", class: "open" });
      button.addEventListener("click", () => show(row));
      each.replaceChildren(button);
    });

    // -- one unit --------------------------------------------------------------------------------------------
    const dialog = byId("unit");
    const unpacked = new Map();

    async function detail(row) {
      const place = data.detail[row];
      if (place === NO) return null;
      const chunk = Math.floor(place / data.at_once);
      if (!unpacked.has(chunk)) unpacked.set(chunk, unpack("details-" + chunk));
      const { units, logs } = await unpacked.get(chunk);
      const mine = units[place % data.at_once];
      return { ...mine, tail: logs[mine.log] };
    }

    async function show(row) {
      const body = byId("unit-body");
      byId("unit-title").textContent = name(row);
      body.replaceChildren(...about(row, await detail(row)));
      if (!dialog.open) dialog.showModal();
      dialog.scrollTop = 0;
      history.replaceState(null, "", "#u=" + encodeURIComponent(address(row)));
    }

    function about(row, more) {
      const facts = make("dl", undefined, { class: "provenance" });
      const say = (title, text) => { if (text) facts.append(make("dt", title), make("dd", text)); };
      say("status", of(texts.status, row) + (changed(row) ? ", first " + changed(row) : ""));
      say("success", yesNo(data.success[row]) + (data.success[row] === data.first_success[row] ? "" : ", first " + yesNo(data.first_success[row])));
      if (data.score && data.score[row] !== null) say("score", String(data.score[row]));
      say("type", of(texts.type, row));
      data.factors.forEach((factor) => say(factor.name, of(factor, row)));
      say("lane", of(texts.lane, row));
      say("run", of(texts.run, row));
      say("command", "prealloc show " + quoted(of(texts.run, row)) + " " + quoted(name(row)));
      if (more === null) {
        return [facts, make("p", "Its attempts, error and result are not in this file. The command above shows them.")];
      }
      say("also decided in", more.later.join(", "));
      const parts = [facts, make("h3", "attempts"), attempts(more.tries)];
      if (!more.tries.length) parts.splice(1, 2, make("p", "No attempt has ended."));
      if (more.error) {
        const status = more.error.http === null ? "" : " (HTTP " + more.error.http + ")";
        parts.push(make("h3", "error of attempt " + more.error.attempt), make("pre", more.error.type + ": " + more.error.message + status));
        if (more.error.traceback) parts.push(make("pre", more.error.traceback));
      }
      if (more.result !== undefined) parts.push(make("h3", more.first_result === undefined ? "result" : "result, latest"), make("pre", more.result));
      if (more.first_result !== undefined) parts.push(make("h3", "result, first"), make("pre", more.first_result));
      if (more.tail) parts.push(make("h3", "end of the log of the shard, which does not name units"), make("p", more.log), make("pre", more.tail));
      parts.forEach((part) => { if (part.tagName === "PRE") part.tabIndex = 0; });
      return parts;
    }

    const quoted = (text) => (/^[\w@%+=:,.\/#-]+$/.test(text) && !text.startsWith("#") ? text : "'" + text.replaceAll("'", "'\\''") + "'");

    function attempts(tries) {
      const titles = ["attempt", "session", "status", "started", "queued", "waited", "worked", "lane", "note", "error"];
      const box = make("div", undefined, { class: "scroll", tabindex: "0", role: "region", "aria-label": "Attempts" });
      const table = make("table");
      const head = make("tr");
      titles.forEach((title) => head.append(make("th", title, { scope: "col" })));
      const thead = make("thead");
      thead.append(head);
      const rows = make("tbody");
      tries.forEach((each) => {
        const tr = make("tr");
        each.forEach((value, at) => tr.append(make("td", at >= 4 && at <= 6 ? seconds(value) : String(value), at < 8 ? { class: "whole" } : {})));
        rows.append(tr);
      });
      table.append(make("caption", "Times are UTC."), thead, rows);
      box.append(table);
      return box;
    }

    dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));

    function follow() {
      if (!location.hash.startsWith("#u=")) return;
      let wanted;
      try { wanted = decodeURIComponent(location.hash.slice(3)); } catch { return; }
      for (let row = 0; row < data.units; row += 1) if (address(row) === wanted) { show(row); return; }
    }

    addEventListener("hashchange", follow);
    draw();
    byId("without").hidden = true;
    byId("table").hidden = false;
    follow();
  }

  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));

  unpack("data").then(table).then(
    () => { document.documentElement.dataset.ready = String(Math.round(performance.now())); },
    (problem) => {
      byId("failed").textContent = "The table of units cannot be shown: " + problem;
      byId("failed").hidden = false;
    },
  );
})();
