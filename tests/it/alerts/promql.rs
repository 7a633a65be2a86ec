//! As much of `PromQL` as tells which series an expression looks at. Prometheus itself says whether it is valid.

/// A metric that an expression looks at, and what it demands of the labels.
#[derive(Debug, PartialEq)]
pub(super) struct Selector {
    pub name: String,
    pub matchers: Vec<Matcher>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Matcher {
    pub label: String,
    /// Each word of a list of alternatives, or the whole value.
    pub values: Vec<String>,
    /// It wants none of them.
    pub is_negated: bool,
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// Words that are no metric although no parenthesis follows.
const KEYWORDS: [&str; 11] =
    ["and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"];
/// Before a list of labels.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

fn tokens(expr: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = expr.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' | '\'' => {
                let mut text = String::new();
                while let Some(c) = rest.next_if(|next| *next != c) {
                    text.push(c);
                }
                rest.next();
                tokens.push(Token::Text(text));
            }
            // A time, or a subquery.
            '[' => while rest.next().is_some_and(|c| c != ']') {},
            c if c.is_ascii_alphabetic() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '_') {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
            // What the dashboard fills in.
            '$' => while rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '_').is_some() {},
            // A number, with its unit.
            c if c.is_ascii_digit() => while rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '.').is_some() {},
            c if c.is_whitespace() => {}
            sign => tokens.push(Token::Sign(sign)),
        }
    }
    tokens
}

/// Every metric of an expression.
pub(super) fn selectors(expr: &str) -> Vec<Selector> {
    let tokens = tokens(expr);
    let mut selectors = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let next = tokens.get(at + 1);
        match &tokens[at] {
            Token::Word(word) if GROUPINGS.contains(&&**word) && next == Some(&Token::Sign('(')) => {
                while tokens[at] != Token::Sign(')') {
                    at += 1;
                }
            }
            Token::Word(word) if !KEYWORDS.contains(&&**word) && !is_function(&tokens[at + 1..]) => {
                let mut matchers = Vec::new();
                if next == Some(&Token::Sign('{')) {
                    let end = at + tokens[at..].iter().position(|token| *token == Token::Sign('}')).unwrap();
                    matchers = tokens[at + 2..end].split(|token| *token == Token::Sign(',')).map(matcher).collect();
                    at = end;
                }
                selectors.push(Selector { name: word.clone(), matchers });
            }
            _ => {}
        }
        at += 1;
    }
    selectors
}

/// What follows the name: `(`, or a grouping and then `(`.
fn is_function(rest: &[Token]) -> bool {
    match rest.first() {
        Some(Token::Sign('(')) => true,
        Some(Token::Word(word)) => ["by", "without"].contains(&&**word),
        _ => false,
    }
}

fn matcher(tokens: &[Token]) -> Matcher {
    let [Token::Word(label), signs @ .., Token::Text(value)] = tokens else { panic!("{tokens:?}") };
    let is_pattern = signs.contains(&Token::Sign('~'));
    let values = if is_pattern { value.split('|').map(str::to_owned).collect() } else { vec![value.clone()] };
    Matcher { label: label.clone(), values, is_negated: signs.contains(&Token::Sign('!')) }
}

/// The series that an expression counts the steps of, by this function.
pub(super) fn counted(expr: &str, function: &str) -> Vec<Selector> {
    let call = format!("{function}(");
    let inside = expr.split(&call).skip(1).map(|rest| rest.split('[').next().unwrap());
    inside.flat_map(selectors).collect()
}

/// The labels by which an expression groups or joins.
pub(super) fn groupings(expr: &str) -> Vec<String> {
    let tokens = tokens(expr);
    let mut labels = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_grouping = matches!(token, Token::Word(word) if GROUPINGS.contains(&&**word));
        if is_grouping && tokens.get(at + 1) == Some(&Token::Sign('(')) {
            let list = tokens[at + 2..].iter().take_while(|token| **token != Token::Sign(')'));
            labels.extend(list.filter_map(|token| if let Token::Word(label) = token { Some(label.clone()) } else { None }));
        }
    }
    labels
}

#[test]
fn an_expression_is_read() {
    let expr = r#"sum without (le) (rate(a_total{x="1",y=~"b|c"}[5m] offset 1m)) > 0.8 and on (job, z) up{job!~"$job"} unless b"#;
    let matcher = |label: &str, values: &[&str]| Matcher {
        label: label.into(),
        values: values.iter().map(|value| (*value).into()).collect(),
        is_negated: label == "job",
    };
    let expected = [
        Selector { name: "a_total".into(), matchers: vec![matcher("x", &["1"]), matcher("y", &["b", "c"])] },
        Selector { name: "up".into(), matchers: vec![matcher("job", &["$job"])] },
        Selector { name: "b".into(), matchers: Vec::new() },
    ];
    assert_eq!(selectors(expr), expected);
    assert_eq!(groupings(expr), ["le", "job", "z"]);
    assert_eq!(counted(expr, "rate"), expected[..1]);
    assert_eq!(selectors("1 - b / $__range_s"), expected[2..]);
}
