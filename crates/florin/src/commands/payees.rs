//! Lists of payees: CSV files with the lines `address,amount,reference`.

use alloy::primitives::{Address, B256};
use anyhow::{Result, bail};
use money::{ParseUsdcError, Usdc};

use crate::values;

/// One line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payee {
    pub(super) to: Address,
    pub(super) amount: Usdc,
    /// Zero if the line has none.
    pub(super) reference: B256,
}

/// Reads all lines, or tells everything that is wrong with them. A first line that begins with `address` is a heading.
pub(super) fn read(text: &str) -> Result<Vec<Payee>> {
    let (mut payees, mut mistakes) = (Vec::new(), Vec::new());
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let heading = number == 0 && line.trim_start().to_lowercase().starts_with("address");
        if heading || line.trim().is_empty() {
            continue;
        }
        match payee(line) {
            Ok(payee) => payees.push(payee),
            Err(why) => mistakes.push(format!("line {}: {why}", number + 1)),
        }
    }
    if !mistakes.is_empty() {
        bail!("{}", mistakes.join("; "));
    }
    if payees.is_empty() {
        bail!("there is no payment in it");
    }
    Ok(payees)
}

fn payee(line: &str) -> Result<Payee, String> {
    let fields = line.split(',').map(|field| unquoted(field.trim())).collect::<Result<Vec<_>, _>>()?;
    let mut fields = fields.into_iter();
    let (to, amount, reference) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default(), fields.next());
    if fields.next().is_some() {
        return Err("it has more than three fields: address,amount,reference".to_owned());
    }
    Ok(Payee {
        to: to.parse().map_err(|_| format!("{to:?} is no address"))?,
        amount: amount.parse().map_err(|error: ParseUsdcError| error.to_string())?,
        reference: values::reference(reference.unwrap_or_default()).map_err(|error| error.to_string())?,
    })
}

/// A field without the quotes around it. Half of a pair means that the comma before or after it was part of the field.
fn unquoted(field: &str) -> Result<&str, String> {
    let inner = field.strip_prefix('"').map_or(Some(field), |rest| rest.strip_suffix('"'));
    inner.filter(|inner| !inner.contains('"')).ok_or_else(|| {
        format!(
            "the quotes of {field:?} are no pair around one field: write amounts as 1234.50, and no comma or quote in a reference"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_whole_or_every_wrong_line_is_told() {
        let someone = Address::repeat_byte(0x11);
        let payees =
            read(&format!("\u{feff}Address,Amount,Reference\r\n{someone}, 12.50, \"invoice 1\"\r\n\r\n{someone},1\r\n")).unwrap();
        assert_eq!(payees.len(), 2);
        assert_eq!(payees[0].amount.to_string(), "12.50");
        assert_eq!(values::shown_reference(payees[0].reference), "invoice 1");
        let mistakes = read(&format!("{someone},12.5000001\nnobody,1\n{someone},1,a,b\n")).unwrap_err().to_string();
        for expected in ["line 1: ", "line 2: \"nobody\" is no address", "line 3: it has more than three fields"] {
            assert!(mistakes.contains(expected), "{mistakes}");
        }
        assert!(read("address,amount\n").is_err());
        // Cut at its comma, this would pay 1 USDC with the reference 234.50.
        for line in [format!("{someone},\"1,234.50\""), format!("{someone},1,\"a, b\""), format!("{someone},1,\"")] {
            assert!(read(&line).unwrap_err().to_string().contains("no pair"), "{line}");
        }
    }
}
